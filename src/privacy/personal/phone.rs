//! Phone numbers: international ones (ITU-T E.164), and national forms by their shape or by words near by.

use smallvec::SmallVec;

use super::cursor::{Cursor, is_word};
use super::{Found, Kind, Proof, Topics, Words, check};

/// Digits of the longest number, and bytes of one with its separators.
const MOST_DIGITS: usize = 15;
const LONGEST: usize = 30;

/// A group of digits and where it ends.
struct Group {
    digits: u8,
    end: usize,
    /// What stands before it.
    separator: u8,
}

/// The number whose first digits begin at `start`.
pub fn find(cursor: Cursor<'_>, start: usize, words: &mut Words<'_>, found: &mut Vec<Found>) {
    let mut begin = start;
    if cursor.byte_before(begin) == b'(' {
        begin -= 1;
    }
    let is_plus = cursor.byte_before(begin) == b'+';
    begin -= usize::from(is_plus);
    // Part of something longer: a date, a fraction, an amount, the rest of a number.
    let before = cursor.byte_before(begin);
    let before_that = cursor.byte_before(begin.saturating_sub(1));
    let is_begun = is_plus || cursor.byte(begin) == b'(';
    let is_rest = is_word(before)
        || matches!(before, b'$' | b'#') && !is_plus
        || matches!(before, b'.' | b'-' | b'/' | b':') && before_that.is_ascii_digit();
    if is_rest {
        return;
    }
    // A comma stands in an amount, or between the columns of a table, whose head may name this one.
    let is_column = before == b',' && before_that.is_ascii_digit() && !is_begun;
    let is_after_number = before == b' ' && before_that.is_ascii_digit();
    if is_after_number && !is_plus && !may_follow_number(cursor, start) {
        return;
    }
    let (groups, digits) = read(cursor, start, is_plus);
    let mut is_named = || {
        let end = groups.last().map_or(start, |group| group.end);
        !is_after_number && words.around(begin..end).has(Topics::PHONE)
    };
    if is_column && !(groups.len() > 1 && is_named()) {
        return;
    }
    let Some((length, proof)) = judge(&groups, &digits, is_plus, is_after_number, is_named) else { return };
    let Some(end) = groups.get(length - 1).map(|group| group.end) else { return };
    let begin = if begin < start && !is_plus && cursor.byte(begin) == b'(' && !cursor.get(start..end).contains(')') {
        start
    } else {
        begin
    };
    found.push(Found { range: begin..extension(cursor, end), kind: Kind::PHONE_NUMBER, proof });
}

/// Whether the first group is one that a number has although another stands before it; most columns of numbers have none.
fn may_follow_number(cursor: Cursor<'_>, start: usize) -> bool {
    let length = cursor.forth(start, 12, |byte| byte.is_ascii_digit()) - start;
    match (cursor.byte(start), length) {
        // A national number goes on without a blank.
        (b'0', _) => cursor.byte(start + length) != b' ',
        (b'1', 1) => cursor.forth(start + 2, 4, |byte| byte.is_ascii_digit()) == start + 5,
        (b'1', 11) => true,
        // Behind a ZIP code; behind any other number it is the rest of a longer one, if blanks are between all groups.
        (_, 3) => {
            cursor.byte(start + 3) != b' ' || cursor.back(start - 1, 6, |byte| byte.is_ascii_digit()) + 6 == start
        }
        _ => false,
    }
}

/// The groups from `start` on, with at most one separator and brackets between two, and all their digits. A number with its
/// country may go on in the next line.
fn read(cursor: Cursor<'_>, start: usize, is_plus: bool) -> (SmallVec<[Group; 12]>, SmallVec<[u8; 32]>) {
    let (mut groups, mut digits) = (SmallVec::new(), SmallVec::new());
    let (mut at, mut separator) = (start, 0);
    loop {
        let end = cursor.forth(at, MOST_DIGITS + 5, |byte| byte.is_ascii_digit());
        if end == at || end - start > LONGEST || digits.len() + (end - at) > MOST_DIGITS + 2 || groups.len() > 9 {
            break;
        }
        // A word such as "3rd" is no group; an extension may follow the last one.
        if is_word(cursor.byte(end)) && !matches!(cursor.byte(end), b'x' | b'X' | b'e') {
            break;
        }
        digits.extend(cursor.get(at..end).bytes());
        groups.push(Group { digits: u8::try_from(end - at).unwrap_or(u8::MAX), end, separator });
        let gap = cursor.forth(end, 3, |byte| b" -./()".contains(&byte));
        separator = match cursor.get(end..gap) {
            ")" | ") " | " (" | "(" | ")-" => b'(',
            " " | "-" | "." | "/" => cursor.byte(end),
            " - " => b'-',
            " / " => b'/',
            "" if is_plus && digits.len() < 9 && matches!(cursor.byte(end), b'\n' | b'\r') => b' ',
            _ => break,
        };
        at = if gap > end { gap } else { cursor.forth(end, 8, |byte| b"\r\n\t >".contains(&byte)) };
    }
    (groups, digits)
}

/// How many groups are the number, if they are one.
fn judge(
    groups: &[Group],
    digits: &[u8],
    is_plus: bool,
    is_after_number: bool,
    is_named: impl FnOnce() -> bool,
) -> Option<(usize, Proof)> {
    let lengths: SmallVec<[u8; 12]> = groups.iter().map(|group| group.digits).collect();
    let count = |groups: usize| lengths.iter().take(groups).map(|digits| usize::from(*digits)).sum::<usize>();
    let all = (1..=groups.len()).rev().find(|groups| count(*groups) <= MOST_DIGITS)?;
    let has = |byte: u8| groups.iter().take(all).any(|group| group.separator == byte);
    let total = count(all);
    // Behind a group with a digit it is the middle of an account number.
    let is_prefixed = !is_after_number
        && digits.starts_with(b"00")
        && !digits.starts_with(b"000")
        && all > 1
        && lengths.first() < Some(&6)
        && (10..=15).contains(&total);
    if is_plus || is_prefixed {
        let code = if is_plus { digits } else { digits.get(2..)? };
        let most = if code.starts_with(b"1") { 11 } else { 14 } + if is_plus { 0 } else { 2 };
        let taken = (1..=all).rev().find(|groups| count(*groups) <= most)?;
        let is_code = !code.starts_with(b"0") && !code.starts_with(b"210");
        return (is_code && count(taken) >= 8).then_some((taken, Proof::Shaped));
    }
    let is_uneven = has(b'.') && has(b'-');
    if let Some(groups) = north_american(&lengths, digits, groups).filter(|_| !is_uneven) {
        return Some((groups, Proof::Shaped));
    }
    // Single digits in a row are a table; five and four are a ZIP code where no word names a number.
    if lengths.iter().take(all).all(|length| *length == 1) {
        return None;
    }
    let is_zip = matches!(lengths.get(..all)?, [5, 4]) && has(b'-');
    let is_date = matches!(lengths.as_slice(), [2, 2, 4, ..] | [1 | 2, 1 | 2, 2 | 4] | [3, 2, 4])
        || matches!(lengths.as_slice(), [4, 2, 2, ..] if digits.starts_with(b"19") || digits.starts_with(b"20"));
    let is_dotted =
        has(b'.') && !matches!(lengths.get(..all)?, [2, 2, 2, 2, 2] | [3 | 2, 3, 4] | [4, 3, 3] | [2, 4, 4]);
    let is_national = digits.starts_with(b"0")
        && digits.get(1) != Some(&b'0')
        && (9..=11).contains(&total)
        && !has(b'/')
        // A hyphen behind the area code and blanks in the rest, not the other way round.
        && (!(has(b' ') && has(b'-')) || total > 9 && groups.iter().take(all).skip(2).all(|group| group.separator == b' '))
        && !(is_after_number && has(b' '))
        && (all > 2 || lengths.first() > Some(&1))
        && !(all == 1 && (total < 10 || check::is_counting(digits)));
    if is_national
        && !is_date
        && !is_dotted
        && !is_zip
        && lengths.iter().take(all).all(|length| *length < 10 || all == 1)
    {
        return Some((all, if all == 1 { Proof::Hinted } else { Proof::Shaped }));
    }
    // China's mobile numbers are eleven digits of their own.
    if (all == 1 || lengths.get(..all)? == [3, 4, 4])
        && total == 11
        && digits.starts_with(b"1")
        && matches!(digits.get(1), Some(b'3'..=b'9'))
        && !check::is_counting(digits)
    {
        return Some((all, Proof::Hinted));
    }
    ((7..=13).contains(&total) && !is_date && !is_dotted && is_named()).then_some((all, Proof::Shaped))
}

/// Numbers of the North American plan: area and exchange begin with 2 to 9.
fn north_american(lengths: &[u8], digits: &[u8], groups: &[Group]) -> Option<usize> {
    let (skip, taken) = match lengths {
        [1, 3, 3, 4, ..] if digits.starts_with(b"1") => (1, 4),
        [3, 3, 4, ..] => (0, 3),
        _ => return None,
    };
    let is_code = |at: usize| matches!(digits.get(skip + at), Some(b'2'..=b'9'));
    // Three groups with blanks alone are also sums of thousands, but for the last of four.
    (is_code(0) && is_code(3) && groups.iter().take(taken).skip(1).all(|group| group.separator != b'/'))
        .then_some(taken)
}

/// Where an extension (`x4587`, `ext. 12`) that follows at `end` ends.
fn extension(cursor: Cursor<'_>, end: usize) -> usize {
    let rest = cursor.bytes().get(end..(end + 12).min(cursor.len())).unwrap_or_default().to_ascii_lowercase();
    for prefix in [&b"x"[..], b" x", b" ext. ", b" ext.", b" ext ", b"ext"] {
        if rest.starts_with(prefix) {
            let digits = cursor.forth(end + prefix.len(), 6, |byte| byte.is_ascii_digit());
            if digits > end + prefix.len() && !is_word(cursor.byte(digits)) {
                return digits;
            }
        }
    }
    end
}
