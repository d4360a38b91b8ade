//! The hash of a record, which is also its leaf in the tree of its segment.

use std::fmt;

use sha2::{Digest, Sha256};

/// A SHA-256 hash; prints as 64 lower-case hex digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Hash(pub [u8; 32]);

impl Hash {
    /// What stands for the record before the first one of a chain.
    pub const ZERO: Self = Self([0; 32]);

    /// The hash of a line, without its newline: RFC 6962 §2.1's leaf, so that one hash serves the chain and the tree.
    pub fn of_record(line: &[u8]) -> Self {
        Self(Sha256::new().chain_update([0]).chain_update(line).finalize().into())
    }

    /// The hash of two subtrees, as RFC 6962 §2.1 has it.
    pub(super) fn of_node(left: Self, right: Self) -> Self {
        let mut node = [1; 65];
        let (_, children) = node.split_at_mut(1);
        for (to, from) in children.iter_mut().zip(left.0.iter().chain(&right.0)) {
            *to = *from;
        }
        Self(Sha256::digest(node).into())
    }

    /// Plain SHA-256 of `bytes`.
    pub fn of_bytes(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// Reads 64 lower-case hex digits.
    pub fn parse(hex: &[u8]) -> Option<Self> {
        parse_hex(hex).map(Self)
    }

    /// Appends the 64 digits.
    pub(super) fn append_to(self, bytes: &mut Vec<u8>) {
        append_hex(&self.0, bytes);
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&to_hex(&self.0))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl serde::Serialize for Hash {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&to_hex(&self.0))
    }
}

impl<'de> serde::Deserialize<'de> for Hash {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let hex = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        Self::parse(hex.as_bytes()).ok_or_else(|| serde::de::Error::custom("not 64 lower-case hex digits"))
    }
}

/// Lower-case hex.
pub fn to_hex(bytes: &[u8]) -> String {
    let mut hex = Vec::with_capacity(bytes.len() * 2);
    append_hex(bytes, &mut hex);
    String::from_utf8(hex).unwrap_or_default() // hex is ASCII
}

fn append_hex(bytes: &[u8], hex: &mut Vec<u8>) {
    let digit = |nibble: u8| if nibble < 10 { b'0' + nibble } else { b'a' + (nibble - 10) };
    hex.reserve(bytes.len() * 2); // once, not for each digit: this is on the way of every record
    for byte in bytes {
        hex.extend_from_slice(&[digit(byte >> 4), digit(byte & 15)]);
    }
}

/// Reads exactly `N` bytes of lower-case hex; upper-case is refused, so that equal bytes have one spelling.
pub(super) fn parse_hex<const N: usize>(hex: &[u8]) -> Option<[u8; N]> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    if hex.len() != N * 2 {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(hex.chunks_exact(2)) {
        let &[high, low] = pair else { return None };
        *byte = digit(high)? << 4 | digit(low)?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_is_read_as_it_is_written_and_in_one_spelling() {
        let hash = Hash::of_bytes(b"abc");
        assert_eq!(hash.to_string(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_eq!(Hash::parse(hash.to_string().as_bytes()), Some(hash));
        assert_eq!(Hash::parse(hash.to_string().to_uppercase().as_bytes()), None);
        assert_eq!(Hash::parse(&hash.to_string().as_bytes()[1..]), None);
        assert_eq!(serde_json::from_value::<Hash>(serde_json::to_value(hash).unwrap()).unwrap(), hash);
    }
}
