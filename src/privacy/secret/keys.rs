//! Private keys and signed tokens.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use super::super::Kind;
use super::super::rule::Rule;
use super::chance::{entropy, varied};

pub(super) const RULES: &[Rule] = &[
    // RFC 7468, and its older relatives with headers: PKCS#1, PKCS#8, SEC1, DSA, OpenSSH, OpenPGP. A dash ends the body, so
    // two keys never read the same bytes. A key whose end is cut off is one too.
    Rule {
        longest: Rule::LONGEST,
        check: |value| value.len() >= 110,
        ..Rule::new(
            Kind::PRIVATE_KEY,
            "pem",
            &["-----begin"],
            r"(?i)-----BEGIN[ A-Z0-9_]{0,40}PRIVATE KEY(?: BLOCK)?-----(?:[\s\\nr]{1,8}[A-Z][A-Z-]{2,30}:[^\n\\]{0,200}){0,8}(?:[^-]{40,}(?:-----END[ A-Z0-9_]{0,40}KEY(?: BLOCK)?-----)|(?:[\s\\nr,+>|#*]{0,12}[0-9A-Z/+=]{20,}){2,})",
        )
    },
    // PuTTY's own format. https://tartarus.org/~simon/putty-snapshots/htmldoc/AppendixC.html
    Rule {
        longest: Rule::LONGEST,
        ..Rule::new(
            Kind::PRIVATE_KEY,
            "putty",
            &["private-lines:"],
            r"(?i:private-lines:) ?[0-9]{1,4}\s{1,4}(?P<v>[0-9A-Za-z/+=\s]{32,}?)\s{0,4}(?i:private-(?:mac|hash))",
        )
    },
    // Bech32 of 32 bytes. https://age-encryption.org/v1
    Rule::new(
        Kind::PRIVATE_KEY,
        "age",
        &["age-secret-key-1"],
        "(?i:AGE-SECRET-KEY-1[QPZRY9X8GF2TVDW0S3JN54KHCE6MUA7L]{58})",
    ),
    // The private members of a JSON Web Key, RFC 7518 section 6, and a symmetric one.
    Rule {
        longest: 2048,
        check: |value| entropy(value) >= 4.0,
        ..Rule::new(
            Kind::PRIVATE_KEY,
            "jwk",
            &["\"d\"", "\"p\"", "\"q\"", "\"dp\"", "\"dq\"", "\"qi\"", "\"k\""],
            r#""(?:d|p|q|dp|dq|qi|k)"\s{0,4}:\s{0,4}"(?P<v>[0-9A-Za-z_-]{40,1400})""#,
        )
    },
    // RFC 7519, RFC 7515: a header, claims, and a signature unless the algorithm is "none".
    Rule {
        longest: 8192,
        check: is_jwt,
        ..Rule::new(
            Kind::JWT,
            "jwt",
            &["eyj"],
            r"ey[0-9A-Za-z]{15,}[0-9A-Za-z_-]*={0,2}\.ey[0-9A-Za-z_/+=-]{12,}\.(?:[0-9A-Za-z_/\\+-]{10,}={0,2})?",
        )
    },
    // RFC 7516: five parts, the second being the wrapped key.
    Rule {
        longest: 8192,
        check: is_jwt,
        ..Rule::new(
            Kind::JWT,
            "jwe",
            &["eyj"],
            r"eyJ[0-9A-Za-z_-]{15,}\.[0-9A-Za-z_-]*\.[0-9A-Za-z_-]{10,}\.[0-9A-Za-z_-]{10,}\.[0-9A-Za-z_-]{10,}",
        )
    },
    // A token that is base64 once more: `eyJ` becomes `ZXlK`.
    Rule {
        longest: 2048,
        check: |value| varied(value) && decoded(value).is_some_and(|bytes| is_header(&bytes)),
        ..Rule::new(Kind::JWT, "jwt_in_base64", &["zxlk"], r"ZXlK[0-9A-Za-z_-]{40,}={0,2}")
    },
];

/// Whether the first part is the header of a signed or encrypted object: JSON that names an algorithm.
fn is_jwt(value: &str) -> bool {
    let header = value.split('.').next().unwrap_or_default();
    decoded(header).is_some_and(|bytes| bytes.starts_with(b"{") && names_algorithm(&bytes))
}

/// Whether these are the first bytes of a token, of which the header names an algorithm.
fn is_header(bytes: &[u8]) -> bool {
    let header = bytes.split(|byte| *byte == b'.').next().unwrap_or_default();
    std::str::from_utf8(header).ok().and_then(decoded).is_some_and(|bytes| names_algorithm(&bytes))
}

/// Not a parser: tokens are found that were edited or cut, and still hold what they held.
fn names_algorithm(header: &[u8]) -> bool {
    ["\"alg\"", "\"enc\"", "\"typ\"", "\"kid\""]
        .iter()
        .any(|name| memchr::memmem::find(header, name.as_bytes()).is_some())
}

/// Base64 of either alphabet, with or without its padding and last bits.
fn decoded(text: &str) -> Option<Vec<u8>> {
    let standard: String = text
        .trim_end_matches('=')
        .chars()
        .map(|c| {
            if c == '-' {
                '+'
            } else if c == '_' {
                '/'
            } else {
                c
            }
        })
        .collect();
    // One character over holds no byte.
    let whole = if standard.len() % 4 == 1 { standard.get(..standard.len() - 1)? } else { &standard };
    LENIENT.decode(whole).ok()
}

const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);
