//! Check digits, each over the characters of a value without separators, letters in upper case.

/// The digits' values, while all of it is digits.
fn digits(text: &[u8]) -> impl DoubleEndedIterator<Item = u32> + ExactSizeIterator + '_ {
    text.iter().map(|byte| u32::from(byte.wrapping_sub(b'0') % 10))
}

/// The sum of each digit with its weight.
pub fn weighted(text: &[u8], weights: &[u32]) -> u32 {
    digits(text).zip(weights).map(|(digit, weight)| digit * weight).sum()
}

/// The last digit.
pub fn last(text: &[u8]) -> u32 {
    digits(text).next_back().unwrap_or_default()
}

/// The number that the digits of `text` write, `u64::MAX` where they write none that fits.
pub fn number(text: &[u8]) -> u64 {
    std::str::from_utf8(text).ok().and_then(|text| text.parse().ok()).unwrap_or(u64::MAX)
}

/// Whether all characters are the same.
pub fn is_one_digit(text: &[u8]) -> bool {
    text.iter().all(|byte| Some(byte) == text.first())
}

/// Whether the digits only count up or down, as examples and alphabets do.
pub fn is_counting(text: &[u8]) -> bool {
    let steps = |step: u8| text.windows(2).all(|pair| matches!(pair, [a, b] if (a - b'0' + step) % 10 == b - b'0'));
    text.iter().all(u8::is_ascii_digit) && (steps(1) || steps(9))
}

/// Whether most of it only counts.
pub fn has_counting(text: &[u8]) -> bool {
    text.windows(7).any(is_counting)
}

/// ISO/IEC 7812-1 annex B.
pub fn luhn(text: &[u8]) -> bool {
    luhn_sum(text).is_multiple_of(10)
}

fn luhn_sum(text: &[u8]) -> u32 {
    let doubled = |digit: u32| if digit > 4 { digit * 2 - 9 } else { digit * 2 };
    digits(text).rev().enumerate().map(|(at, digit)| if at % 2 == 1 { doubled(digit) } else { digit }).sum()
}

/// ISO 7064 MOD 97-10 as ISO 13616 uses it: the first four characters count as the last.
pub fn mod97(text: &[u8]) -> bool {
    let (head, tail) = text.split_at(text.len().min(4));
    let remainder = tail.iter().chain(head).fold(0, |sum: u32, byte| match byte {
        b'0'..=b'9' => (sum * 10 + u32::from(byte - b'0')) % 97,
        letter => (sum * 100 + 10 + u32::from(letter.wrapping_sub(b'A'))) % 97,
    });
    remainder == 1
}

/// ISO 7064 MOD 11,10 over digits, the last being the check digit.
pub fn mod11_10(text: &[u8]) -> bool {
    let (Some(check), rest) = (digits(text).next_back(), text.len().saturating_sub(1)) else { return false };
    let product = digits(text).take(rest).fold(10, |product, digit| {
        let sum = match (digit + product) % 10 {
            0 => 10,
            sum => sum,
        };
        sum * 2 % 11
    });
    (11 - product) % 10 == check
}

/// The Verhoeff check digit.
pub fn verhoeff(text: &[u8]) -> bool {
    const PRODUCT: [[u8; 10]; 10] = [
        [0, 1, 2, 3, 4, 5, 6, 7, 8, 9],
        [1, 2, 3, 4, 0, 6, 7, 8, 9, 5],
        [2, 3, 4, 0, 1, 7, 8, 9, 5, 6],
        [3, 4, 0, 1, 2, 8, 9, 5, 6, 7],
        [4, 0, 1, 2, 3, 9, 5, 6, 7, 8],
        [5, 9, 8, 7, 6, 0, 4, 3, 2, 1],
        [6, 5, 9, 8, 7, 1, 0, 4, 3, 2],
        [7, 6, 5, 9, 8, 2, 1, 0, 4, 3],
        [8, 7, 6, 5, 9, 3, 2, 1, 0, 4],
        [9, 8, 7, 6, 5, 4, 3, 2, 1, 0],
    ];
    const STEP: [u8; 10] = [1, 5, 7, 6, 2, 8, 3, 0, 9, 4];
    let permuted = |mut digit: u8, times: usize| {
        for _ in 0..times % 8 {
            digit = STEP.get(usize::from(digit)).copied().unwrap_or_default();
        }
        digit
    };
    let check = text.iter().rev().enumerate().fold(0u8, |check, (at, byte)| {
        let digit = permuted(byte.wrapping_sub(b'0') % 10, at);
        PRODUCT.get(usize::from(check)).and_then(|row| row.get(usize::from(digit))).copied().unwrap_or_default()
    });
    check == 0
}

/// German documents (ICAO 9303): weights 7, 3, 1, letters from 10 on, the last digit being the check digit.
pub fn icao(text: &[u8]) -> bool {
    let value = |byte: &u8| match byte {
        b'0'..=b'9' => u32::from(byte - b'0'),
        letter => u32::from(letter.wrapping_sub(b'A')) + 10,
    };
    let Some((check, rest)) = text.split_last() else { return false };
    let sum: u32 = rest.iter().zip([7, 3, 1].into_iter().cycle()).map(|(byte, weight)| value(byte) * weight).sum();
    check.is_ascii_digit() && sum % 10 == u32::from(check - b'0')
}

/// Whether `YYMMDD` may be a date of the calendar.
pub fn is_yymmdd(text: &[u8]) -> bool {
    let part = |range| text.get(range).map_or(0, number);
    (1..=12).contains(&part(2..4)) && (1..=31).contains(&part(4..6))
}

/// Whether `DDMMYY` may be a date of the calendar.
pub fn is_ddmmyy(text: &[u8]) -> bool {
    let part = |range| text.get(range).map_or(0, number);
    (1..=31).contains(&part(0..2)) && (1..=12).contains(&part(2..4))
}
