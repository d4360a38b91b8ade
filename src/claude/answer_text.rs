//! The words of an answer, told as they go by: from the events of a stream, and from the `content` of a JSON body.
//!
//! Source: the Messages API reference, "Streaming messages" and "Create a message".

use std::borrow::Cow;

use memchr::memchr2;
use serde::Deserialize;
use serde_json::value::RawValue;

/// What a piece of an answer is.
///
/// An answer's text, of which the record keeps the hash, is all its `Text` pieces one after the other, of every block, with
/// nothing between them: the same for a stream as for JSON, wherever the pieces are cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AnswerText {
    /// Words for the reader.
    Text,
    /// Thinking, or its summary.
    Thinking,
    /// Input of a tool: a piece of a JSON document, as it was sent.
    ToolInput,
}

/// What the text of one event of a stream is.
pub(super) enum EventText<'d> {
    /// Nothing that is told.
    None,
    /// A piece of a block.
    Piece(AnswerText, Cow<'d, str>, u64),
    /// Content that cannot be read.
    Unreadable,
}

/// The text of a `content_block_delta`.
pub(super) fn of_delta(data: &[u8]) -> EventText<'_> {
    match serde_json::from_slice(data) {
        Ok(BlockDelta { index, delta }) => delta.text(index),
        Err(_) => EventText::Unreadable,
    }
}

/// The text that a `content_block_start` begins with: mostly there is none.
pub(super) fn of_start(data: &[u8]) -> EventText<'_> {
    match serde_json::from_slice(data) {
        Ok(BlockStart { index, content_block }) => content_block.text(index),
        Err(_) => EventText::Unreadable,
    }
}

#[derive(Deserialize)]
struct BlockDelta<'d> {
    #[serde(default)]
    index: u64,
    #[serde(borrow)]
    delta: Words<'d>,
}

#[derive(Deserialize)]
struct BlockStart<'d> {
    #[serde(default)]
    index: u64,
    #[serde(borrow)]
    content_block: Words<'d>,
}

/// The parts of a block or a delta that are told. Each has a key of its own, so that the type need not be read.
#[derive(Deserialize)]
struct Words<'d> {
    #[serde(borrow)]
    text: Option<Borrowed<'d>>,
    #[serde(borrow)]
    thinking: Option<Borrowed<'d>>,
    #[serde(borrow)]
    partial_json: Option<Borrowed<'d>>,
    #[serde(borrow)]
    input: Option<&'d RawValue>,
}

#[derive(Deserialize)]
struct Borrowed<'d>(#[serde(borrow)] Cow<'d, str>);

impl<'d> Words<'d> {
    fn text(self, index: u64) -> EventText<'d> {
        let piece = match self {
            Self { text: Some(Borrowed(text)), .. } => (AnswerText::Text, text),
            Self { thinking: Some(Borrowed(text)), .. } => (AnswerText::Thinking, text),
            Self { partial_json: Some(Borrowed(text)), .. } => (AnswerText::ToolInput, text),
            // A stream opens a block with an empty input, which the deltas replace.
            Self { input: Some(input), .. } if input.get() != "{}" => (AnswerText::ToolInput, input.get().into()),
            Self { .. } => return EventText::None,
        };
        if piece.1.is_empty() { EventText::None } else { EventText::Piece(piece.0, piece.1, index) }
    }
}

/// Tells the words of a message that goes by as JSON in chunks, keeping no more than what one chunk decodes to. It trusts
/// the document to be JSON, as [`TopLevel`](super::TopLevel) does.
#[derive(Debug, Default)]
pub(super) struct MessageText {
    depth: usize,
    in_string: bool,
    /// The string under way is a key, if it stands where one can.
    expects_key: bool,
    key: Vec<u8>,
    /// The value of the top level that is being read is `content`.
    in_content: bool,
    index: u64,
    /// What the value that is being read is, from the key of the block that it stands under.
    told: Option<AnswerText>,
    escape: Escape,
    /// The first half of a surrogate pair.
    high: Option<u16>,
    out: Vec<u8>,
}

/// How far an escape has been read.
#[derive(Debug, Clone, Copy, Default)]
enum Escape {
    #[default]
    None,
    Begun,
    /// After `\u`: how many digits are there, and their value.
    Hex(u8, u16),
}

/// Longer than any key that is looked for.
const MAX_KEY: usize = 16;

impl MessageText {
    /// Takes the next chunk and tells what ends in it.
    pub(super) fn feed(&mut self, mut chunk: &[u8], sink: &mut impl FnMut(AnswerText, &str, u64)) {
        while let Some((&byte, rest)) = chunk.split_first() {
            if self.in_string && matches!(self.escape, Escape::None) {
                let plain = memchr2(b'"', b'\\', chunk).unwrap_or(chunk.len());
                let (text, rest) = chunk.split_at(plain);
                self.plain(text);
                chunk = rest;
                if let Some((&byte, rest)) = chunk.split_first() {
                    chunk = rest;
                    if byte == b'\\' {
                        self.escape = Escape::Begun;
                        self.raw(byte);
                    } else {
                        self.in_string = false;
                        self.raw(byte);
                        if self.is_words() {
                            self.end_pair();
                            self.flush(true, sink);
                        }
                    }
                }
                continue;
            }
            chunk = rest;
            if self.in_string {
                self.raw(byte);
                self.escaped(byte);
            } else {
                self.structure(byte, sink);
            }
        }
        self.flush(false, sink);
    }

    /// A string of a block that is told decoded; a tool's input is told as it is.
    fn is_words(&self) -> bool {
        self.depth == 3 && !self.expects_key && matches!(self.told, Some(AnswerText::Text | AnswerText::Thinking))
    }

    fn is_input(&self) -> bool {
        self.depth >= 3 && !(self.depth == 3 && self.expects_key) && self.told == Some(AnswerText::ToolInput)
    }

    fn is_key(&self) -> bool {
        self.expects_key && (self.depth == 1 || self.depth == 3 && self.in_content)
    }

    fn plain(&mut self, text: &[u8]) {
        if self.is_key() {
            let room = MAX_KEY.saturating_sub(self.key.len());
            self.key.extend(text.iter().take(room));
        } else if self.is_input() {
            self.out.extend_from_slice(text);
        } else if self.is_words() && !text.is_empty() {
            self.end_pair();
            self.out.extend_from_slice(text);
        }
    }

    /// A byte as it stands in the document.
    fn raw(&mut self, byte: u8) {
        if self.is_input() {
            self.out.push(byte);
        }
    }

    fn escaped(&mut self, byte: u8) {
        self.escape = match (self.escape, byte) {
            (Escape::Begun, b'u') => Escape::Hex(0, 0),
            (Escape::Hex(digits, value), byte) => {
                let digit = char::from(byte).to_digit(16).and_then(|digit| u16::try_from(digit).ok()).unwrap_or(0);
                let value = value << 4 | digit;
                if digits < 3 {
                    Escape::Hex(digits + 1, value)
                } else {
                    self.unit(value);
                    Escape::None
                }
            }
            (_, byte) => {
                let byte = match byte {
                    b'n' => b'\n',
                    b't' => b'\t',
                    b'r' => b'\r',
                    b'b' => 8,
                    b'f' => 12,
                    other => other,
                };
                if self.is_key() {
                    self.plain(&[byte]);
                } else if self.is_words() {
                    self.end_pair();
                    self.out.push(byte);
                }
                Escape::None
            }
        };
    }

    /// Takes a UTF-16 unit of an escape.
    fn unit(&mut self, unit: u16) {
        if self.is_key() {
            self.plain(&[u8::try_from(unit).unwrap_or(0)]);
            return;
        }
        if !self.is_words() {
            return;
        }
        let Some(high) = self.high.take() else {
            if (0xd800..0xdc00).contains(&unit) {
                self.high = Some(unit);
            } else {
                self.push(char::from_u32(unit.into()));
            }
            return;
        };
        if let Some(Ok(char)) = char::decode_utf16([high, unit]).next() {
            self.push(Some(char));
        } else {
            self.push(None);
            self.unit(unit);
        }
    }

    /// Half a pair that no second half followed.
    fn end_pair(&mut self) {
        if self.high.take().is_some() {
            self.push(None);
        }
    }

    fn push(&mut self, char: Option<char>) {
        let mut bytes = [0; 4];
        let char = char.unwrap_or(char::REPLACEMENT_CHARACTER);
        self.out.extend_from_slice(char.encode_utf8(&mut bytes).as_bytes());
    }

    fn structure(&mut self, byte: u8, sink: &mut impl FnMut(AnswerText, &str, u64)) {
        match byte {
            b'"' => {
                self.in_string = true;
                if self.is_key() {
                    self.key.clear();
                } else {
                    self.raw(byte);
                }
            }
            b':' if self.is_key() => {
                self.expects_key = false;
                if self.depth == 1 {
                    self.in_content = self.key == b"content";
                } else {
                    self.told = match self.key.as_slice() {
                        b"text" => Some(AnswerText::Text),
                        b"thinking" => Some(AnswerText::Thinking),
                        b"input" => Some(AnswerText::ToolInput),
                        _ => None,
                    };
                }
            }
            b',' if self.depth == 1 => (self.expects_key, self.in_content) = (true, false),
            b',' if self.depth == 2 => self.index += 1,
            b',' if self.depth == 3 => {
                self.flush(true, sink);
                (self.expects_key, self.told) = (true, None);
            }
            b'{' | b'[' => {
                self.raw(byte);
                self.depth += 1;
                if self.depth == 2 {
                    self.index = 0;
                }
                if self.depth == 1 || self.depth == 3 {
                    self.expects_key = byte == b'{';
                    self.told = None;
                } else if self.told != Some(AnswerText::ToolInput) {
                    self.told = None;
                }
            }
            b'}' | b']' => {
                if self.depth == 3 {
                    self.flush(true, sink);
                    self.told = None;
                }
                self.depth = self.depth.saturating_sub(1);
                self.raw(byte);
            }
            _ if byte.is_ascii_whitespace() && !self.is_input() => {}
            _ => self.raw(byte),
        }
    }

    /// Tells what has been decoded, but for a character that has not ended, unless the value has.
    fn flush(&mut self, ended: bool, sink: &mut impl FnMut(AnswerText, &str, u64)) {
        let Some(kind) = self.told.filter(|_| !self.out.is_empty()) else {
            self.out.clear();
            return;
        };
        let whole = match std::str::from_utf8(&self.out) {
            Err(error) if error.error_len().is_none() && !ended => error.valid_up_to(),
            _ => self.out.len(),
        };
        let (text, rest) = self.out.split_at(whole);
        if !text.is_empty() {
            sink(kind, &String::from_utf8_lossy(text), self.index);
        }
        let rest = rest.len();
        self.out.drain(..self.out.len() - rest);
    }
}
