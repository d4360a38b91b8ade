//! The tag that stands for a value.

use aws_lc_rs::hmac;

use super::Kind;
use crate::credential::Secret;

/// A key of which others are made, each for one purpose. It does not print.
pub struct TagKey(hmac::Key);

impl TagKey {
    /// Takes the bytes of a secret as the key.
    pub fn new(secret: &Secret) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, secret.expose()))
    }

    /// A key that is good until the process ends.
    ///
    /// # Errors
    /// When the system gives no random bytes.
    pub fn random() -> std::io::Result<Self> {
        Self::random_bytes().map(|secret| Self::new(&secret))
    }

    /// 32 random bytes, for a key to be kept.
    ///
    /// # Errors
    /// When the system gives no random bytes.
    pub fn random_bytes() -> std::io::Result<Secret> {
        let mut bytes = vec![0; 32];
        aws_lc_rs::rand::fill(&mut bytes).map_err(|_| std::io::Error::other("no random bytes"))?;
        Ok(Secret::new(bytes))
    }

    /// The key for another purpose; neither tells anything of the other.
    #[must_use]
    pub fn derive(&self, label: &str) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, self.hash(label.as_bytes()).as_ref()))
    }

    /// The keyed hash of a text that comes in pieces.
    pub fn hasher(&self) -> KeyedHash {
        KeyedHash(hmac::Context::with_key(&self.0))
    }

    /// The keyed hash (HMAC-SHA256) of a text.
    pub fn hash(&self, text: &[u8]) -> [u8; 32] {
        let mut hash = [0; 32];
        hash.copy_from_slice(hmac::sign(&self.0, text).as_ref());
        hash
    }

    /// Writes what stands for `value`: `[EMAIL:7f3a]`. One value has one tag however it is written: letter case and separators
    /// do not count.
    pub(super) fn write(&self, kind: Kind, value: &str, to: &mut String) {
        let mut context = hmac::Context::with_key(&self.0);
        context.update(kind.name().as_bytes());
        context.update(&[0]);
        let counts = |c: &char| if kind == Kind::PHONE_NUMBER { c.is_ascii_digit() } else { is_significant(kind, *c) };
        let mut buffer = [0; 4];
        for c in value.chars().filter(counts) {
            let c = if kind.is_secret() { c } else { c.to_ascii_lowercase() };
            context.update(c.encode_utf8(&mut buffer).as_bytes());
        }
        let hash = context.sign();
        let [first, second, ..] = hash.as_ref() else { return };
        to.push('[');
        to.push_str(kind.name());
        to.push(':');
        for nibble in [first >> 4, first & 15, second >> 4, second & 15] {
            to.push(char::from_digit(nibble.into(), 16).unwrap_or('0'));
        }
        to.push(']');
    }
}

/// The keyed hash (HMAC-SHA256) of what it has been given.
pub struct KeyedHash(hmac::Context);

impl KeyedHash {
    /// Takes the next piece.
    pub fn update(&mut self, piece: &[u8]) {
        self.0.update(piece);
    }

    /// The first 128 bits as 32 hex digits.
    pub fn digits(self) -> String {
        let hash = self.0.sign();
        let nibbles = hash.as_ref().iter().take(16).flat_map(|byte| [byte >> 4, byte & 15]);
        nibbles.map(|nibble| char::from_digit(nibble.into(), 16).unwrap_or('0')).collect()
    }
}

/// Whether a character tells one value of a kind from another.
fn is_significant(kind: Kind, c: char) -> bool {
    match kind {
        Kind::EMAIL | Kind::IP_ADDRESS | Kind::URL_CREDENTIALS => true,
        kind if kind.is_secret() => true,
        _ => c.is_alphanumeric(),
    }
}

impl std::fmt::Debug for TagKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TagKey(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tag(key: &TagKey, kind: Kind, value: &str) -> String {
        let mut tag = String::new();
        key.write(kind, value, &mut tag);
        tag
    }

    #[test]
    fn one_value_has_one_tag_however_it_is_written() {
        let key = TagKey::new(&Secret::new(b"key".to_vec()));
        assert_eq!(tag(&key, Kind::EMAIL, "Ann@Example.com"), tag(&key, Kind::EMAIL, "ann@example.com"));
        assert_eq!(
            tag(&key, Kind::CREDIT_CARD, "4111 1111 1111 1111"),
            tag(&key, Kind::CREDIT_CARD, "4111111111111111")
        );
        assert_eq!(tag(&key, Kind::PHONE_NUMBER, "+1 (415) 555-0132"), tag(&key, Kind::PHONE_NUMBER, "+14155550132"));
        assert_ne!(tag(&key, Kind::EMAIL, "ann@example.com"), tag(&key, Kind::EMAIL, "bob@example.com"));
        assert_ne!(tag(&key, Kind::JWT, "aB"), tag(&key, Kind::JWT, "ab"));
    }

    #[test]
    fn keys_for_two_purposes_differ_and_none_prints() {
        let key = TagKey::new(&Secret::new(b"key".to_vec()));
        assert_ne!(key.derive("prompt").hash(b"text"), key.derive("answer").hash(b"text"));
        assert_eq!(key.derive("prompt").hash(b"text"), key.derive("prompt").hash(b"text"));
        assert_eq!(format!("{key:?}"), "TagKey(..)");
    }
}
