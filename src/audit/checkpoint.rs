//! Checkpoints: lines of the chain that sign what stands before them.
//!
//! The signature (Ed25519, RFC 8032) is over this text, each line ended by `\n` and nothing else in it:
//!
//! ```text
//! portcullis.audit/checkpoint/v1
//! <log: host/chain>
//! <seq: the checkpoint's own number>
//! <prev: hash of the record before it, 64 hex digits>
//! <size: lines of the segment before it>
//! <root: RFC 6962 root over those lines, 64 hex digits>
//! <previous: hash of the chain's checkpoint before this one, 64 hex digits, or - for the first>
//! <closes, if it is the last line of its segment, else continues>
//! <time: RFC 3339, UTC>
//! ```
//!
//! No value may hold a newline, so that a text can be read in one way alone. As in a signed note (C2SP `signed-note`), the
//! first line says what is signed: a key that signs other things too cannot be made to sign a checkpoint by accident.

use serde::{Deserialize, Serialize};

use super::hash::{Hash, parse_hex, to_hex};
use super::key::{PublicKey, SigningKey};
use super::line::Head;
use super::record::VERSION;

/// A checkpoint, as its line has it after `seq` and `prev`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Checkpoint {
    event: CheckpointEvent,
    version: u32,
    /// Lines of the segment before it.
    pub size: u64,
    /// Merkle root over those lines.
    pub root: Hash,
    /// Hash of the chain's checkpoint before it.
    pub previous: Option<Hash>,
    /// It is the last line of its segment.
    pub closes: bool,
    /// Whose log it is: host and chain.
    pub log: String,
    /// What the key is called.
    pub key: String,
    /// The key's public half, in hex.
    pub public_key: String,
    /// When it was signed, RFC 3339 in UTC.
    pub time: String,
    /// The signature in hex.
    signature: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum CheckpointEvent {
    Checkpoint,
}

/// What a checkpoint says of the chain, before it is signed.
pub(super) struct Statement<'a> {
    pub head: Head,
    pub size: u64,
    pub root: Hash,
    pub previous: Option<Hash>,
    pub closes: bool,
    pub log: &'a str,
    pub time: String,
}

impl Statement<'_> {
    pub(super) fn sign(self, key: &SigningKey) -> Checkpoint {
        let public = key.public();
        let mut checkpoint = Checkpoint {
            event: CheckpointEvent::Checkpoint,
            version: VERSION,
            size: self.size,
            root: self.root,
            previous: self.previous,
            closes: self.closes,
            log: self.log.to_owned(),
            key: public.id(),
            public_key: public.to_hex(),
            time: self.time,
            signature: String::new(),
        };
        checkpoint.signature = to_hex(&key.sign(checkpoint.text(self.head).as_bytes()));
        checkpoint
    }
}

impl Checkpoint {
    /// Reads the line of a checkpoint that is spelled as we spell it: there is one line for what it says.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(line: &[u8]) -> Result<(Head, Self), &'static str> {
        let (head, rest) = Head::parse(line).ok_or("is no line of an audit log")?;
        // What follows the head lacks only its first brace.
        let object = [b"{", rest].concat();
        let checkpoint: Self =
            serde_json::from_slice(&object).map_err(|_| "is no checkpoint that this version knows")?;
        if checkpoint.version != VERSION {
            return Err("is a checkpoint of another layout than this version knows");
        }
        if serde_json::to_vec(&checkpoint).ok() != Some(object) {
            return Err("is a checkpoint in another spelling than ours");
        }
        Ok((head, checkpoint))
    }

    /// The key that it bears.
    pub fn public_key(&self) -> Option<PublicKey> {
        PublicKey::parse_hex(&self.public_key).filter(|key| key.id() == self.key)
    }

    /// Whether `key` has signed it at this place of the chain.
    pub fn verifies(&self, head: Head, key: PublicKey) -> bool {
        let is_one_line = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
        let signature = parse_hex(self.signature.as_bytes());
        is_one_line(&self.log)
            && is_one_line(&self.time)
            && signature.is_some_and(|signature| key.verifies(self.text(head).as_bytes(), &signature))
    }

    /// What is signed.
    fn text(&self, head: Head) -> String {
        let previous = self.previous.map_or("-".to_owned(), |hash| hash.to_string());
        let closes = if self.closes { "closes" } else { "continues" };
        format!(
            "portcullis.audit/checkpoint/v1\n{}\n{}\n{}\n{}\n{}\n{previous}\n{closes}\n{}\n",
            self.log, head.seq, head.prev, self.size, self.root, self.time
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(key: &SigningKey) -> Vec<u8> {
        let head = Head { seq: 42, prev: Hash::of_bytes(b"before") };
        let statement = Statement {
            head,
            size: 41,
            root: Hash::of_bytes(b"root"),
            previous: Some(Hash::of_bytes(b"previous")),
            closes: true,
            log: "edge-1/0",
            time: "2026-11-24T10:00:00Z".to_owned(),
        };
        let mut line = Vec::new();
        head.splice(&serde_json::to_vec(&statement.sign(key)).unwrap(), &mut line);
        line.pop();
        line
    }

    #[test]
    fn any_change_of_a_byte_shows() {
        let folder = tempfile::tempdir().unwrap();
        let key = SigningKey::of_host(folder.path()).unwrap();
        let line = line(&key);
        let (head, checkpoint) = Checkpoint::parse(&line).unwrap();
        assert_eq!(checkpoint.public_key(), Some(key.public()));
        assert!(checkpoint.verifies(head, key.public()));
        for at in 0..line.len() {
            for bit in 0..8 {
                let mut changed = line.clone();
                changed[at] ^= 1 << bit;
                let holds = Checkpoint::parse(&changed).is_ok_and(|(head, checkpoint)| {
                    checkpoint.public_key() == Some(key.public()) && checkpoint.verifies(head, key.public())
                });
                assert!(!holds, "bit {bit} of byte {at}");
            }
        }
        let spaced = String::from_utf8(line).unwrap().replace("\"size\":41", "\"size\": 41");
        assert!(Checkpoint::parse(spaced.as_bytes()).is_err());
    }
}
