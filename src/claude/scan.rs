//! Picks values by key from the top level of a JSON object that goes by in chunks, keeping nothing else.

use memchr::memchr2;
use serde::de::DeserializeOwned;

/// A scanner for a few top-level keys. It trusts the document to be JSON: the document is an answer that is passed on,
/// not a request that is judged, and a value that is kept is parsed properly when it is asked for.
#[derive(Debug)]
#[allow(clippy::struct_excessive_bools)] // a state machine: each is a bit of its state
pub struct TopLevel {
    wanted: &'static [&'static str],
    found: Vec<(&'static str, Vec<u8>)>,
    depth: usize,
    in_string: bool,
    after_escape: bool,
    /// At depth 1: whether the next text is a key (after `{` or `,`) or a value (after `:`).
    expects_key: bool,
    key: Vec<u8>,
    /// The value under way is kept at this place of `found`.
    keeping: bool,
    complete: bool,
}

/// Longest value that is kept: a usage with many iterations fits well.
const MAX_VALUE: usize = 64 << 10;
/// Longest key that can be a wanted one.
const MAX_KEY: usize = 32;

impl TopLevel {
    /// A scanner that keeps the values of `wanted`.
    pub fn new(wanted: &'static [&'static str]) -> Self {
        Self {
            wanted,
            found: Vec::new(),
            depth: 0,
            in_string: false,
            after_escape: false,
            expects_key: false,
            key: Vec::new(),
            keeping: false,
            complete: false,
        }
    }

    /// Takes the next chunk.
    pub fn feed(&mut self, mut chunk: &[u8]) {
        while let Some((&byte, rest)) = chunk.split_first() {
            if self.in_string && !self.after_escape {
                // The bulk of every answer is text: skip to its end or its next escape.
                let plain = memchr2(b'"', b'\\', chunk).unwrap_or(chunk.len());
                let (text, rest) = chunk.split_at(plain);
                self.keep(text);
                chunk = rest;
                if let Some((&byte, rest)) = chunk.split_first() {
                    self.keep(&[byte]);
                    self.after_escape = byte == b'\\';
                    self.in_string = byte != b'"';
                    chunk = rest;
                }
                continue;
            }
            chunk = rest;
            if self.in_string {
                self.after_escape = false;
                self.keep(&[byte]);
            } else {
                self.structure(byte);
            }
        }
    }

    /// The value of `key`, if it has gone by and is a `T`.
    pub fn value<T: DeserializeOwned>(&self, key: &str) -> Option<T> {
        let (_, json) = self.found.iter().find(|(name, _)| *name == key)?;
        serde_json::from_slice(json).ok()
    }

    /// Whether the object has ended.
    pub fn is_complete(&self) -> bool {
        self.complete
    }

    fn structure(&mut self, byte: u8) {
        match byte {
            b'"' => {
                self.in_string = true;
                if self.depth == 1 && self.expects_key {
                    self.key.clear();
                } else {
                    self.keep(b"\"");
                }
            }
            b':' if self.depth == 1 && self.expects_key => {
                self.expects_key = false;
                // The closing quote was kept with the key.
                let key = self.key.strip_suffix(b"\"").unwrap_or(&self.key);
                if let Some(name) = self.wanted.iter().find(|name| name.as_bytes() == key) {
                    self.found.retain(|(found, _)| found != name);
                    self.found.push((name, Vec::new()));
                    self.keeping = true;
                }
            }
            b',' if self.depth == 1 => {
                self.expects_key = true;
                self.keeping = false;
            }
            b'{' | b'[' => {
                self.keep(&[byte]);
                self.depth += 1;
                self.expects_key = self.depth == 1 && byte == b'{';
            }
            b'}' | b']' => {
                self.depth = self.depth.saturating_sub(1);
                if self.depth == 0 {
                    self.keeping = false;
                    self.complete = true;
                } else {
                    self.keep(&[byte]);
                }
            }
            _ => self.keep(&[byte]),
        }
    }

    fn keep(&mut self, bytes: &[u8]) {
        if self.depth == 1 && self.expects_key {
            if self.in_string && self.key.len() + bytes.len() <= MAX_KEY {
                self.key.extend_from_slice(bytes);
            } else if self.in_string {
                self.key.clear();
                self.key.push(0); // too long for any wanted key
            }
        } else if self.keeping
            && let Some((_, value)) = self.found.last_mut()
        {
            if value.len() + bytes.len() <= MAX_VALUE {
                value.extend_from_slice(bytes);
            } else {
                self.keeping = false; // cut off: it will not parse, and reads as absent
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn scan(chunks: &[&[u8]]) -> (Option<Value>, Option<Value>, bool) {
        let mut scanner = TopLevel::new(&["usage", "model"]);
        for chunk in chunks {
            scanner.feed(chunk);
        }
        (scanner.value("usage"), scanner.value("model"), scanner.is_complete())
    }

    #[test]
    fn keeps_wanted_values_and_nothing_else() {
        let document = br#" {"a":{"usage":1},"b":["model",{"model":2}],"usage" : {"x":[1,{"y":"}\"{"}]} ,"text":"\\","model":"m"} "#;
        assert_eq!(scan(&[document]), (Some(json!({"x": [1, {"y": "}\"{"}]})), Some(json!("m")), true));
    }

    #[test]
    fn an_overlong_value_reads_as_absent() {
        let document = format!(r#"{{"usage":"{}","model":"m"}}"#, "x".repeat(MAX_VALUE));
        assert_eq!(scan(&[document.as_bytes()]), (None, Some(json!("m")), true));
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i32>().prop_map(Value::from),
            "[a\"\\\\{}\\[\\],:]{0,6}".prop_map(Value::from)
        ];
        leaf.prop_recursive(3, 16, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::vec(("(usage|model|a|\"|,)", inner), 0..4)
                    .prop_map(|entries| Value::Object(entries.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn agrees_with_a_full_parser_wherever_the_document_is_cut(document in prop::collection::vec(("(usage|model|a|b\")", value()), 0..5), cut in 0.0..1.0) {
            let document = Value::Object(document.into_iter().collect());
            let text = document.to_string();
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
            let cut = (text.len() as f64 * cut) as usize;
            let expected = (document.get("usage").cloned(), document.get("model").cloned(), true);
            prop_assert_eq!(scan(&[&text.as_bytes()[..cut], &text.as_bytes()[cut..]]), expected.clone());
            prop_assert_eq!(scan(&text.as_bytes().chunks(1).collect::<Vec<_>>()), expected);
        }
    }
}
