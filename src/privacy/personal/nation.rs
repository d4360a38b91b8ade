//! Numbers that states, banks and health services give, with their shapes and check digits.

use std::sync::LazyLock;

use super::check::{self, last, luhn, mod11_10, number, weighted};
use super::series::is_card;
use super::{Kind, Proof, Topics};

/// A number: its characters without separators, how it is written in groups, and what makes it one.
pub struct Number {
    pub kind: Kind,
    /// `9` is a digit, `A` a letter, `*` either.
    pub shape: &'static str,
    /// The lengths of its groups where it is not one word.
    pub groups: &'static [&'static [u8]],
    pub check: fn(&[u8]) -> bool,
    /// One of these must stand near by; [`Topics::NONE`] asks for nothing.
    pub needs: Topics,
    pub proof: Proof,
}

const fn checked(
    kind: Kind,
    shape: &'static str,
    groups: &'static [&'static [u8]],
    check: fn(&[u8]) -> bool,
) -> Number {
    Number { kind, shape, groups, check, needs: Topics::NONE, proof: Proof::Checked }
}

const fn hinted(kind: Kind, shape: &'static str, needs: Topics) -> Number {
    Number { kind, shape, groups: &[], check: |_| true, needs, proof: Proof::Hinted }
}

const CARD: &[&[u8]] = &[&[4, 4, 4, 4], &[4, 6, 5], &[4, 6, 4], &[4, 4, 4, 4, 3]];
const THREES: &[&[u8]] = &[&[3, 3, 3]];

/// Of those with one check digit and no more, the ones before take the text.
pub const NUMBERS: &[Number] = &[
    checked(Kind::CREDIT_CARD, "999999999999", CARD, is_card),
    checked(Kind::CREDIT_CARD, "9999999999999", CARD, is_card),
    checked(Kind::CREDIT_CARD, "99999999999999", CARD, is_card),
    checked(Kind::CREDIT_CARD, "999999999999999", CARD, is_card),
    checked(Kind::CREDIT_CARD, "9999999999999999", CARD, is_card),
    checked(Kind::CREDIT_CARD, "99999999999999999", CARD, is_card),
    checked(Kind::CREDIT_CARD, "999999999999999999", CARD, is_card),
    checked(Kind::CREDIT_CARD, "9999999999999999999", CARD, is_card),
    // United States
    Number { needs: Topics::ROUTING, ..checked(Kind::ABA_ROUTING_NUMBER, "999999999", &[&[4, 4, 1]], is_aba) },
    Number { proof: Proof::Shaped, ..checked(Kind::US_ITIN, "999999999", &[&[3, 2, 4], &[3, 6], &[5, 4]], is_itin) },
    Number { proof: Proof::Shaped, ..checked(Kind::US_SSN, "999999999", &[&[3, 2, 4]], is_ssn) },
    Number { proof: Proof::Shaped, ..hinted(Kind::US_PASSPORT, "999999999", Topics::PASSPORT) },
    Number { check: is_plain, ..hinted(Kind::US_PASSPORT, "A99999999", Topics::NONE) },
    checked(Kind::US_NPI, "9999999999", &[&[4, 3, 3], &[3, 3, 4]], is_npi),
    checked(Kind::US_MBI, "9A*9A*9AA99", &[&[4, 3, 4]], is_mbi),
    checked(Kind::MEDICAL_LICENSE, "AA9999999", &[&[2, 7]], is_dea),
    checked(Kind::MEDICAL_LICENSE, "A99999999", &[], |text| text.get(1) == Some(&b'9') && is_dea(text)),
    // United Kingdom
    checked(Kind::UK_NHS, "9999999999", &[&[3, 3, 4]], is_nhs),
    Number {
        proof: Proof::Shaped,
        ..checked(Kind::UK_NINO, "AA999999A", &[&[2, 2, 2, 2, 1], &[2, 6, 1], &[2, 7], &[8, 1]], is_nino)
    },
    hinted(Kind::UK_PASSPORT, "AA9999999", Topics::NONE),
    Number { proof: Proof::Shaped, ..hinted(Kind::UK_PASSPORT, "999999999", Topics::PASSPORT) },
    Number {
        proof: Proof::Shaped,
        ..checked(Kind::UK_DRIVING_LICENCE, "*****999999*****", &[&[5, 6, 5]], is_uk_licence)
    },
    // Passports of others
    hinted(Kind::PASSPORT, "AAA999999", Topics::PASSPORT),
    hinted(Kind::PASSPORT, "A9999999", Topics::PASSPORT),
    hinted(Kind::PASSPORT, "A999A9999", Topics::NONE),
    hinted(Kind::PASSPORT, "99AA99999", Topics::PASSPORT),
    hinted(Kind::PASSPORT, "AA999999", Topics::PASSPORT),
    hinted(Kind::PASSPORT, "A********", Topics::PASSPORT),
    // Australia
    checked(Kind::AU_ABN, "99999999999", &[&[2, 3, 3, 3]], is_abn),
    checked(Kind::AU_ACN, "999999999", THREES, is_acn),
    checked(Kind::AU_TFN, "999999999", THREES, |text| {
        is_plain(text) && weighted(text, &[1, 4, 3, 7, 5, 8, 6, 9, 10]).is_multiple_of(11)
    }),
    checked(Kind::AU_MEDICARE, "9999999999", &[&[4, 5, 1]], is_medicare),
    // Canada
    checked(Kind::CA_SIN, "999999999", THREES, |text| luhn(text) && !text.starts_with(b"0") && !text.starts_with(b"8")),
    // Germany
    hinted(Kind::DE_FUEHRERSCHEIN, "AA99999999*", Topics::NONE),
    checked(Kind::DE_HEALTH_INSURANCE, "A999999999", &[], is_kvnr),
    checked(Kind::DE_ID_CARD, "A*******9", &[], is_german_document),
    checked(Kind::DE_SOCIAL_SECURITY, "99999999A999", &[&[2, 6, 1, 3]], is_german_social),
    checked(Kind::DE_TAX_ID, "99999999999", &[&[2, 3, 3, 3]], |text| {
        is_german_tax(text) && !text.get(..10).is_some_and(check::is_counting)
    }),
    Number { needs: Topics::TAX, ..checked(Kind::DE_TAX_ID, "99999999999", &[&[2, 3, 3, 3]], mod11_10) },
    Number {
        proof: Proof::Shaped,
        ..checked(Kind::DE_VAT_ID, "AA999999999", &[&[2, 9], &[2, 3, 3, 3], &[5, 3, 3]], |text| text.starts_with(b"DE"))
    },
    // Spain
    checked(Kind::ES_NIF, "99999999A", &[&[8, 1], &[2, 3, 3, 1]], |text| is_nif(text, b"")),
    checked(Kind::ES_NIF, "9999999A", &[&[7, 1]], |text| is_nif(text, b"")),
    checked(Kind::ES_NIE, "A9999999A", &[&[1, 7, 1], &[8, 1]], is_nie),
    // Finland
    checked(Kind::FI_PERSONAL_IDENTITY_CODE, "999999A999*", &[], |text| is_finnish(text, 7)),
    checked(Kind::FI_PERSONAL_IDENTITY_CODE, "999999999*", &[&[6, 4]], |text| is_finnish(text, 6)),
    // France
    checked(Kind::FR_SOCIAL_SECURITY, "999999999999999", &[&[1, 2, 2, 2, 3, 3, 2], &[13, 2]], is_nir),
    // India
    checked(Kind::IN_AADHAAR, "999999999999", &[&[4, 4, 4]], is_aadhaar),
    Number { proof: Proof::Shaped, ..checked(Kind::IN_PAN, "AAAAA9999A", &[], is_pan) },
    Number { proof: Proof::Shaped, ..checked(Kind::IN_GSTIN, "99AAAAA9999A*A*", &[], is_gstin) },
    // Italy
    checked(Kind::IT_FISCAL_CODE, "AAAAAA99A99A999A", &[], is_fiscal_code),
    checked(Kind::IT_VAT_CODE, "99999999999", &[], |text| luhn(text) && !text.starts_with(b"000")),
    Number {
        proof: Proof::Shaped,
        ..checked(Kind::IT_DRIVER_LICENSE, "A9*99999*A", &[], |text| text.starts_with(b"U1"))
    },
    Number { check: |text| text.starts_with(b"U1"), ..hinted(Kind::IT_DRIVER_LICENSE, "A9*******A", Topics::NONE) },
    // Korea
    checked(Kind::KR_BRN, "9999999999", &[&[3, 2, 5]], |text| is_brn(text) && !check::has_counting(text)),
    checked(Kind::KR_RRN, "9999999999999", &[&[6, 7]], |text| is_korean(text, b"1234", 11)),
    checked(Kind::KR_FRN, "9999999999999", &[&[6, 7]], |text| is_korean(text, b"5678", 13)),
    // Numbers given since October 2020 have no check digit.
    Number {
        check: |text| check::is_yymmdd(text) && matches!(text.get(6), Some(b'1'..=b'4')),
        groups: &[&[6, 7]],
        ..hinted(Kind::KR_RRN, "9999999999999", Topics::IDENTITY)
    },
    Number {
        check: |text| check::is_yymmdd(text) && matches!(text.get(6), Some(b'5'..=b'8')),
        groups: &[&[6, 7]],
        ..hinted(Kind::KR_FRN, "9999999999999", Topics::IDENTITY)
    },
    Number {
        proof: Proof::Shaped,
        ..checked(Kind::KR_DRIVER_LICENSE, "999999999999", &[&[2, 2, 6, 2]], is_korean_licence)
    },
    // Nigeria
    Number { needs: Topics::IDENTITY, ..checked(Kind::NG_NIN, "99999999999", &[], check::verhoeff) },
    // Poland
    checked(Kind::PL_PESEL, "99999999999", &[], is_pesel),
    // Sweden
    checked(Kind::SE_PERSONNUMMER, "9999999999", &[&[6, 4]], is_swedish_person),
    checked(Kind::SE_PERSONNUMMER, "999999999999", &[&[8, 4]], |text| text.get(2..).is_some_and(is_swedish_person)),
    checked(Kind::SE_ORGANISATIONSNUMMER, "9999999999", &[&[6, 4]], |text| {
        text.get(2) >= Some(&b'2') && luhn(text) && !check::has_counting(text)
    }),
    // Singapore
    Number {
        check: |text| text.first().is_some_and(|kind| b"STFGM".contains(kind)),
        ..hinted(Kind::SG_NRIC_FIN, "A9999999A", Topics::NONE)
    },
    checked(Kind::SG_NRIC_FIN, "A9999999A", &[], is_nric),
    // Thailand
    checked(Kind::TH_TNIN, "9999999999999", &[&[1, 4, 5, 2, 1]], is_thai),
    // Turkey
    checked(Kind::TR_NATIONAL_ID, "99999999999", &[], is_turkish),
    // South Africa
    checked(Kind::ZA_ID_NUMBER, "9999999999999", &[&[6, 4, 3]], is_south_african),
];

fn part(text: &[u8], from: usize, to: usize) -> u64 {
    text.get(from..to).map_or(u64::MAX, number)
}

/// Countries and lengths of the IBAN registry (ISO 13616).
const IBANS: &str = "AD24AE23AL28AT20AZ28BA20BE16BG22BH22BI27BR29BY28CH21CR22CY28CZ24DE22DJ27DK18DO28EE20EG29ES24FI18FK18FO18FR27GB22\
    GE22GI23GL18GR27GT28HN28HR21HU28IE22IL23IQ23IS26IT27JO30KW30KZ20LB28LC32LI21LT20LU20LV21LY25MC27MD24ME22MK19MN20MR27MT31MU30\
    NI28NL18NO15OM23PK24PL28PS29PT25QA29RO24RS22RU33SA24SC31SD18SE24SI19SK24SM27SO23ST25SV28TL23TN24TR26UA29VA22VG24XK20YE30";

/// The length of the account numbers that begin as the text does: a country, two check digits.
pub fn iban_length(text: &[u8]) -> Option<usize> {
    let [first @ b'A'..=b'Z', second @ b'A'..=b'Z', b'0'..=b'9', b'0'..=b'9', ..] = text else { return None };
    let at = usize::from(first - b'A') * 26 + usize::from(second - b'A');
    IBAN_LENGTHS.get(at).copied().filter(|length| *length > 0).map(usize::from)
}

/// The lengths by both letters of the country, 0 where there are no such numbers.
static IBAN_LENGTHS: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let length = |first: u8, second: u8| {
        let entry = IBANS.as_bytes().chunks_exact(4).find(|entry| entry.starts_with(&[first, second]));
        entry.and_then(|entry| u8::try_from(part(entry, 2, 4)).ok()).unwrap_or_default()
    };
    (b'A'..=b'Z').flat_map(|first| (b'A'..=b'Z').map(move |second| length(first, second))).collect()
});

fn is_aba(text: &[u8]) -> bool {
    matches!(part(text, 0, 2), 0..=12 | 21..=32 | 61..=72 | 80)
        && weighted(text, &[3, 7, 1, 3, 7, 1, 3, 7, 1]).is_multiple_of(10)
        && !check::is_one_digit(text)
}

/// Area, group and serial as the Social Security Administration gives them, and no number of advertisements.
fn is_ssn(text: &[u8]) -> bool {
    !matches!(part(text, 0, 3), 0 | 666 | 900..)
        && part(text, 3, 5) != 0
        && part(text, 5, 9) != 0
        && !matches!(text, b"078051120" | b"219099999")
        && is_plain(text)
}

/// Whether it is no round number and none that only counts.
fn is_plain(text: &[u8]) -> bool {
    let digits = text.iter().position(u8::is_ascii_digit).and_then(|at| text.get(at..)).unwrap_or_default();
    !check::is_one_digit(digits) && !check::is_counting(digits) && !digits.ends_with(b"00000")
}

fn is_itin(text: &[u8]) -> bool {
    text.starts_with(b"9") && matches!(part(text, 3, 5), 50..=65 | 70..=88 | 90..=92 | 94..=99)
}

/// The Luhn digit over the number behind 80840, which adds 24 (45 CFR 162.406).
fn is_npi(text: &[u8]) -> bool {
    let prefixed: Vec<u8> = [b"80840", text].concat();
    matches!(text.first(), Some(b'1' | b'2')) && luhn(&prefixed) && !text.get(..9).is_some_and(check::is_one_digit)
}

fn is_mbi(text: &[u8]) -> bool {
    !text.starts_with(b"0") && text.iter().all(|byte| !b"SLOIBZ".contains(byte))
}

fn is_dea(text: &[u8]) -> bool {
    let digits = text.get(2..).unwrap_or_default();
    let is_registrant = text.first().is_some_and(|byte| b"ABCDEFGHJKLMPRSTUX".contains(byte));
    is_registrant && weighted(digits, &[1, 2, 1, 2, 1, 2]) % 10 == last(digits)
}

fn is_nhs(text: &[u8]) -> bool {
    let check = 11 - weighted(text, &[10, 9, 8, 7, 6, 5, 4, 3, 2]) % 11;
    (if check == 11 { 0 } else { check }) == last(text) && is_plain(text)
}

fn is_nino(text: &[u8]) -> bool {
    let [first, second, .., suffix] = text else { return false };
    !b"DFIQUV".contains(first)
        && !b"DFIOQUV".contains(second)
        && !["BG", "GB", "NK", "KN", "TN", "NT", "ZZ"].iter().any(|prefix| text.starts_with(prefix.as_bytes()))
        && b"ABCD".contains(suffix)
}

/// Five letters of the name, filled with 9; decade, month (plus 50 for women), day, year; initials and more.
fn is_uk_licence(text: &[u8]) -> bool {
    let name = text.get(..5).unwrap_or_default();
    let letters = name.iter().take_while(|byte| byte.is_ascii_uppercase()).count();
    let is_name = letters > 0 && name.iter().skip(letters).all(|byte| *byte == b'9');
    let is_initials =
        text.get(11..13).is_some_and(|two| two.iter().all(|byte| byte.is_ascii_uppercase() || *byte == b'9'));
    let is_rest = is_initials && text.get(14..).is_some_and(|two| two.iter().all(u8::is_ascii_uppercase));
    let month = part(text, 6, 8);
    is_name && is_rest && matches!(month, 1..=12 | 51..=62) && (1..=31).contains(&part(text, 8, 10))
}

fn is_abn(text: &[u8]) -> bool {
    let sum = weighted(text, &[10, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19]);
    !text.starts_with(b"0") && (sum + 89 - 10).is_multiple_of(89)
}

fn is_acn(text: &[u8]) -> bool {
    (10 - weighted(text, &[8, 7, 6, 5, 4, 3, 2, 1]) % 10) % 10 == last(text) && is_plain(text)
}

fn is_medicare(text: &[u8]) -> bool {
    let check = weighted(text, &[1, 3, 7, 9, 1, 3, 7, 9]) % 10;
    matches!(text.first(), Some(b'2'..=b'6')) && u64::from(check) == part(text, 8, 9)
}

/// Digits of a text in which letters count as two digits from 01 on, weighted, each product's digits added.
fn german_sum(text: &[u8], weights: &[u32]) -> u32 {
    let digits = text.iter().flat_map(|byte| match byte {
        b'0'..=b'9' => [None, Some(u32::from(byte - b'0'))],
        letter => {
            let number = u32::from(letter.wrapping_sub(b'A')) + 1;
            [Some(number / 10), Some(number % 10)]
        }
    });
    digits.flatten().zip(weights).map(|(digit, weight)| digit * weight).map(|product| product / 10 + product % 10).sum()
}

fn is_kvnr(text: &[u8]) -> bool {
    let rest = text.get(..9).unwrap_or_default();
    german_sum(rest, &[1, 2, 1, 2, 1, 2, 1, 2, 1, 2]) % 10 == last(text)
}

fn is_german_social(text: &[u8]) -> bool {
    let rest = text.get(..11).unwrap_or_default();
    let birthday = text.get(2..8).is_some_and(check::is_ddmmyy);
    birthday && german_sum(rest, &[2, 1, 2, 5, 7, 1, 2, 1, 2, 1, 2, 1]) % 10 == last(text)
}

fn is_german_document(text: &[u8]) -> bool {
    text.iter().all(|byte| b"CFGHJKLMNPRTVWXYZ0123456789".contains(byte))
        && text.iter().filter(|byte| byte.is_ascii_digit()).count() >= 4
        && check::icao(text)
}

fn is_german_tax(text: &[u8]) -> bool {
    let head = text.get(..10).unwrap_or_default();
    let most = (b'0'..=b'9').map(|digit| memchr::memchr_iter(digit, head).count()).max();
    !text.starts_with(b"0") && matches!(most, Some(2 | 3)) && mod11_10(text)
}

/// The letter after the number that stands after the prefix's digit.
fn is_nif(text: &[u8], prefix: &[u8]) -> bool {
    let Some((letter, digits)) = text.split_last() else { return false };
    let remainder = usize::try_from(number(&[prefix, digits].concat()) % 23).unwrap_or_default();
    b"TRWAGMYFPDXBNJZSQVHLCKE".get(remainder) == Some(letter)
}

fn is_nie(text: &[u8]) -> bool {
    let prefix: &[u8] = match text.first() {
        Some(b'X') => b"0",
        Some(b'Y') => b"1",
        Some(b'Z') => b"2",
        _ => return false,
    };
    text.get(1..).is_some_and(|rest| is_nif(rest, prefix))
}

/// A birthday, a century's sign, a number that begins at `serial`, and the check character.
fn is_finnish(text: &[u8], serial: usize) -> bool {
    let (Some(day), Some(rest)) = (text.get(..6), text.get(serial..serial + 3)) else { return false };
    let is_century = serial == 6 || text.get(6).is_some_and(|sign| b"ABCDEFUVWXY".contains(sign));
    let remainder = usize::try_from(number(&[day, rest].concat()) % 31).unwrap_or_default();
    is_century
        && check::is_ddmmyy(day)
        && number(rest) >= 2
        && b"0123456789ABCDEFHJKLMNPRSTUVWXY".get(remainder) == text.last()
}

fn is_nir(text: &[u8]) -> bool {
    matches!(text.first(), Some(b'1' | b'2')) && part(text, 13, 15) == 97 - part(text, 0, 13) % 97
}

fn is_aadhaar(text: &[u8]) -> bool {
    matches!(text.first(), Some(b'2'..=b'9')) && check::verhoeff(text) && !text.iter().eq(text.iter().rev())
}

fn is_pan(text: &[u8]) -> bool {
    text.get(3).is_some_and(|holder| b"ABCFGHJLPTKND".contains(holder)) && part(text, 5, 9) != 0
}

fn is_gstin(text: &[u8]) -> bool {
    (1..=37).contains(&part(text, 0, 2))
        && text.get(13) == Some(&b'Z')
        && text.get(2..12).is_some_and(|text| part(text, 5, 9) != 0)
}

fn is_fiscal_code(text: &[u8]) -> bool {
    const ODD: [u32; 26] =
        [1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23];
    let value = |byte: &u8| if byte.is_ascii_digit() { byte - b'0' } else { byte.wrapping_sub(b'A') };
    let Some((check, rest)) = text.split_last() else { return false };
    let sum: u32 = rest
        .iter()
        .enumerate()
        .map(|(at, byte)| match at % 2 {
            0 => ODD.get(usize::from(value(byte))).copied().unwrap_or_default(),
            _ => u32::from(value(byte)),
        })
        .sum();
    text.get(8).is_some_and(|month| b"ABCDEHLMPRST".contains(month)) && sum % 26 == u32::from(value(check))
}

fn is_brn(text: &[u8]) -> bool {
    let sum = weighted(text, &[1, 3, 7, 1, 3, 7, 1, 3, 5]) + weighted(text.get(8..9).unwrap_or_default(), &[5]) / 10;
    (10 - sum % 10) % 10 == last(text) && part(text, 0, 3) >= 101 && !check::is_one_digit(text)
}

fn is_korean(text: &[u8], kinds: &[u8], base: u32) -> bool {
    let sum = weighted(text, &[2, 3, 4, 5, 6, 7, 8, 9, 2, 3, 4, 5]);
    check::is_yymmdd(text)
        && text.get(6).is_some_and(|kind| kinds.contains(kind))
        && (base - sum % 11) % 10 == last(text)
}

fn is_korean_licence(text: &[u8]) -> bool {
    (11..=28).contains(&part(text, 0, 2))
}

fn is_pesel(text: &[u8]) -> bool {
    let is_day = (1..=31).contains(&part(text, 4, 6)) && (1..=12).contains(&(part(text, 2, 4) % 20));
    is_day && (10 - weighted(text, &[1, 3, 7, 9, 1, 3, 7, 9, 1, 3]) % 10) % 10 == last(text)
}

fn is_swedish_person(text: &[u8]) -> bool {
    let day = part(text, 4, 6) % 60;
    (1..=12).contains(&part(text, 2, 4)) && (1..=31).contains(&day) && luhn(text)
}

fn is_nric(text: &[u8]) -> bool {
    let [kind, digits @ .., letter] = text else { return false };
    let sum = weighted(digits, &[2, 7, 6, 5, 4, 3, 2]);
    let (offset, letters) = match kind {
        b'S' => (0, b"JZIHGFEDCBA"),
        b'T' => (4, b"JZIHGFEDCBA"),
        b'F' => (0, b"XWUTRQPNMLK"),
        b'G' => (4, b"XWUTRQPNMLK"),
        b'M' => (3, b"XWUTRQPNJLK"),
        _ => return false,
    };
    letters.get(usize::try_from((sum + offset) % 11).unwrap_or_default()) == Some(letter)
}

fn is_thai(text: &[u8]) -> bool {
    let sum = weighted(text, &[13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2]);
    let is_province = matches!(part(text, 1, 3), 10..=27 | 30..=58 | 60..=67 | 70..=77 | 80..=86 | 90..=96);
    matches!(text.first(), Some(b'1'..=b'8')) && is_province && (11 - sum % 11) % 10 == last(text)
}

fn is_turkish(text: &[u8]) -> bool {
    let tenth = weighted(text, &[7, 9, 7, 9, 7, 9, 7, 9, 7]) % 10;
    let eleventh = weighted(text, &[1; 10]) % 10;
    !text.starts_with(b"0") && u64::from(tenth) == part(text, 9, 10) && eleventh == last(text)
}

fn is_south_african(text: &[u8]) -> bool {
    check::is_yymmdd(text) && matches!(text.get(10), Some(b'0'..=b'2')) && luhn(text)
}
