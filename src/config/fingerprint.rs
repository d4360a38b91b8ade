//! Whether two texts say the same, whatever their order, white space and comments.

use sha2::{Digest, Sha256};
use toml::Spanned;
use toml::de::{DeString, DeValue};

/// What a part of a configuration says, as 32 bytes. It is compared and never shown: it covers secrets.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// Of a value, with what the files hold that it names.
    pub(super) fn of<'d>(value: &DeValue<'_>, named: impl Iterator<Item = &'d [u8; 32]>) -> Self {
        let mut hash = Sha256::new();
        feed(&mut hash, value);
        named.for_each(|digest| hash.update(digest));
        Self(hash.finalize().into())
    }

    /// For comparison with others; it is not for people.
    pub(super) fn to_text(self) -> String {
        crate::audit::to_hex(&self.0)
    }

    /// Of a table's members but for those of these names.
    pub(super) fn of_members<'d>(
        members: impl Iterator<Item = (&'d Spanned<DeString<'d>>, &'d Spanned<DeValue<'d>>)>,
        without: &[&str],
    ) -> Self {
        let mut hash = Sha256::new();
        feed_members(&mut hash, members.filter(|(name, _)| !without.contains(&name.get_ref().as_ref())));
        Self(hash.finalize().into())
    }
}

/// Every value goes in with its kind and length, so that no two read alike.
fn feed(hash: &mut Sha256, value: &DeValue<'_>) {
    let text = |hash: &mut Sha256, kind: u8, text: &str| {
        hash.update([kind]);
        hash.update((text.len() as u64).to_be_bytes());
        hash.update(text);
    };
    match value {
        DeValue::String(value) => text(hash, b's', value),
        DeValue::Integer(value) => text(hash, b'i', &value.to_string()),
        DeValue::Float(value) => text(hash, b'f', value.as_str()),
        DeValue::Boolean(value) => text(hash, b'b', if *value { "1" } else { "0" }),
        DeValue::Datetime(value) => text(hash, b'd', &value.to_string()),
        DeValue::Array(values) => {
            hash.update([b'a']);
            hash.update((values.len() as u64).to_be_bytes());
            values.iter().for_each(|value| feed(hash, value.get_ref()));
        }
        DeValue::Table(table) => feed_members(hash, table.iter()),
    }
}

fn feed_members<'d>(
    hash: &mut Sha256,
    members: impl Iterator<Item = (&'d Spanned<DeString<'d>>, &'d Spanned<DeValue<'d>>)>,
) {
    let mut members: Vec<_> = members.map(|(name, value)| (name.get_ref().as_ref(), value.get_ref())).collect();
    members.sort_unstable_by_key(|(name, _)| *name);
    hash.update([b't']);
    hash.update((members.len() as u64).to_be_bytes());
    for (name, value) in members {
        hash.update((name.len() as u64).to_be_bytes());
        hash.update(name);
        feed(hash, value);
    }
}
