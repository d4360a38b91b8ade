//! Addresses of crypto currencies.

use std::ops::Range;

use sha2::{Digest, Sha256};

use super::cursor::Cursor;
use super::{Found, Kind, Proof};

/// The address that is the word at `at`.
pub fn find(cursor: Cursor<'_>, at: Range<usize>, found: &mut Vec<Found>) {
    let word = cursor.get(at.clone());
    let proof = if is_base58check(word) || is_bech32(word) {
        Proof::Checked
    } else if is_ethereum(word) || is_monero(word) {
        Proof::Shaped
    } else {
        return;
    };
    found.push(Found { range: at, kind: Kind::CRYPTO, proof });
}

const BASE58: &[u8] = b"123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";

/// Bitcoin, Litecoin, Dogecoin and Tron: a version, 20 bytes, and the first four of their double SHA-256.
fn is_base58check(word: &str) -> bool {
    if !(26..=35).contains(&word.len()) || !word.starts_with(['1', '3', 'L', 'M', 'D', 'T', 'A', '9', 'm', 'n', '2']) {
        return false;
    }
    let mut bytes = [0u8; 25];
    for byte in word.bytes() {
        let Some(value) = BASE58.iter().position(|letter| *letter == byte) else { return false };
        let mut carry = value;
        for byte in bytes.iter_mut().rev() {
            carry += usize::from(*byte) * 58;
            *byte = u8::try_from(carry & 0xff).unwrap_or_default();
            carry >>= 8;
        }
        if carry != 0 {
            return false;
        }
    }
    let (payload, check) = bytes.split_at(21);
    Sha256::digest(Sha256::digest(payload)).starts_with(check)
}

/// BIP 173 and BIP 350: segregated witness addresses of Bitcoin and Litecoin.
fn is_bech32(word: &str) -> bool {
    const LETTERS: &[u8] = b"qpzry9x8gf2tvdw0s3jn54khce6mua7l";
    const GENERATOR: [u32; 5] = [0x3b6a_57b2, 0x2650_8e6d, 0x1ea1_19fa, 0x3d42_33dd, 0x2a14_62b3];
    let lower = word.to_ascii_lowercase();
    let Some((prefix, data)) = lower.split_once('1') else { return false };
    if !["bc", "tb", "ltc", "bcrt"].contains(&prefix) || !(14..=90).contains(&lower.len()) {
        return false;
    }
    let step = |sum: u32, value: u8| {
        let top = sum >> 25;
        let next = (sum & 0x01ff_ffff) << 5 ^ u32::from(value);
        GENERATOR
            .iter()
            .enumerate()
            .fold(next, |next, (bit, word)| if top >> bit & 1 == 1 { next ^ word } else { next })
    };
    let mut sum = prefix.bytes().fold(1, |sum, byte| step(sum, byte >> 5));
    sum = prefix.bytes().fold(step(sum, 0), |sum, byte| step(sum, byte & 31));
    for byte in data.bytes() {
        let Some(value) = LETTERS.iter().position(|letter| *letter == byte) else { return false };
        sum = step(sum, u8::try_from(value).unwrap_or_default());
    }
    sum == 1 || sum == 0x2bc8_30a3
}

/// `0x` and 20 bytes; the letter case of EIP-55 is not checked, for wrong case hides nothing.
fn is_ethereum(word: &str) -> bool {
    word.len() == 42
        && word.strip_prefix("0x").is_some_and(|hex| {
            hex.bytes().all(|byte| byte.is_ascii_hexdigit())
                && hex.bytes().skip(1).any(|byte| !hex.starts_with(char::from(byte)))
        })
}

/// A standard address of 95 characters, or an integrated one of 106.
fn is_monero(word: &str) -> bool {
    matches!(word.len(), 95 | 106) && word.starts_with(['4', '8']) && word.bytes().all(|byte| BASE58.contains(&byte))
}
