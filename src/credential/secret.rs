//! Bytes that must not reach a log.

use std::fmt;

use zeroize::Zeroizing;

/// A secret: it does not print, does not clone and is wiped when dropped.
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// Takes the bytes as they are.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// Takes what a file or a variable holds, without the white space around it that editors leave.
    pub fn trimmed(bytes: Vec<u8>) -> Self {
        let bytes = Zeroizing::new(bytes);
        Self(Zeroizing::new(bytes.trim_ascii().to_vec()))
    }

    /// The bytes. Each call site is a place to review.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    static_assertions::assert_not_impl_any!(Secret: fmt::Display, Clone, serde::Serialize);

    #[test]
    fn debug_output_has_nothing_of_the_secret() {
        let secret = Secret::trimmed(b"  sk-ant-real\n".to_vec());
        assert_eq!(secret.expose(), b"sk-ant-real");
        assert_eq!(format!("{secret:?}"), "Secret(..)");
    }
}
