//! Reads the events of an SSE stream beside the relay, without holding it back.
//!
//! Framing after the WHATWG HTML standard, section 9.2: lines end in LF, CR or CRLF, an empty line ends an event, a
//! colon in front makes a comment, one space after the colon is not part of the value. Only the data of events that the
//! caller wants is kept, up to a bound; all else costs a search for line ends.

use memchr::memchr2;

/// Finds events in the chunks of a stream, wherever the chunks are cut.
#[derive(Debug, Default)]
#[allow(clippy::struct_excessive_bools)] // a state machine: each is a bit of its state
pub struct EventReader {
    /// The line under way, when a chunk ended inside it.
    line: Vec<u8>,
    /// The line under way is past [`MAX_LINE`] and is being skipped.
    overlong: bool,
    /// The chunk before ended in CR: a LF at the start of the next one belongs to it.
    after_cr: bool,
    name: Vec<u8>,
    data: Vec<u8>,
    has_data: bool,
    /// Some line was past [`MAX_LINE`].
    skipped: bool,
}

/// Longest line that is looked at: a `message_start` with a large container or a long list of iterations fits well.
const MAX_LINE: usize = 1 << 20;

impl EventReader {
    /// Takes the next chunk and calls `on_event` with the name and data of every event that ends in it.
    pub fn feed(&mut self, mut chunk: &[u8], mut on_event: impl FnMut(&[u8], &[u8])) {
        if chunk.is_empty() {
            return; // the line feed after a carriage return may still come
        }
        if std::mem::take(&mut self.after_cr) {
            chunk = chunk.strip_prefix(b"\n").unwrap_or(chunk);
        }
        while let Some(end) = memchr2(b'\n', b'\r', chunk) {
            let (line, rest) = chunk.split_at(end);
            let (ending, rest) = rest.split_first().map_or((b'\n', rest), |(byte, rest)| (*byte, rest));
            if ending == b'\r' {
                self.after_cr = rest.is_empty();
                chunk = rest.strip_prefix(b"\n").unwrap_or(rest);
            } else {
                chunk = rest;
            }
            if self.line.is_empty() && !self.overlong {
                self.end_line(line, &mut on_event);
            } else {
                self.keep(line);
                let line = std::mem::take(&mut self.line);
                if !std::mem::take(&mut self.overlong) {
                    self.end_line(&line, &mut on_event);
                }
            }
        }
        self.keep(chunk);
    }

    /// Whether a line was too long to be looked at.
    pub fn has_skipped(&self) -> bool {
        self.skipped
    }

    /// Whether the last event has ended and none has begun.
    pub fn is_between_events(&self) -> bool {
        self.line.is_empty() && !self.overlong && self.name.is_empty() && !self.has_data
    }

    fn keep(&mut self, part: &[u8]) {
        if self.overlong || self.line.len() + part.len() > MAX_LINE {
            self.overlong = true;
            self.skipped = true;
            self.line = Vec::new();
        } else {
            self.line.extend_from_slice(part);
        }
    }

    fn end_line(&mut self, line: &[u8], on_event: &mut impl FnMut(&[u8], &[u8])) {
        if line.is_empty() {
            if self.has_data {
                on_event(&self.name, &self.data);
            }
            self.name.clear();
            self.data.clear();
            self.has_data = false;
        } else if let Some(value) = field(line, b"event") {
            self.name.clear();
            self.name.extend_from_slice(value);
        } else if let Some(value) = field(line, b"data") {
            if self.has_data {
                self.data.push(b'\n');
            }
            if self.data.len() + value.len() <= MAX_LINE {
                self.data.extend_from_slice(value);
            } else {
                self.skipped = true;
            }
            self.has_data = true;
        }
    }
}

fn field<'l>(line: &'l [u8], name: &[u8]) -> Option<&'l [u8]> {
    let value = line.strip_prefix(name)?.strip_prefix(b":")?;
    Some(value.strip_prefix(b" ").unwrap_or(value))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn events(chunks: &[&[u8]]) -> Vec<(String, String)> {
        let mut reader = EventReader::default();
        let mut events = Vec::new();
        for chunk in chunks {
            reader.feed(chunk, |name, data| {
                events.push((String::from_utf8_lossy(name).into_owned(), String::from_utf8_lossy(data).into_owned()));
            });
        }
        events
    }

    const STREAM: &[u8] = b": hello\r\n\r\nevent: ping\r\ndata: {}\r\n\r\nevent:a\ndata:one\ndata: two\n\nevent: b\rdata: three\r\rid: 7\n\ndata: cut";

    #[test]
    fn every_line_end_and_a_missing_space_are_read() {
        let expected = [("ping", "{}"), ("a", "one\ntwo"), ("b", "three")];
        assert_eq!(events(&[STREAM]), expected.map(|(name, data)| (name.to_owned(), data.to_owned())));
    }

    #[test]
    fn an_endless_line_is_skipped_and_the_next_event_is_found() {
        let long = vec![b'x'; MAX_LINE];
        let found = events(&[b"event: big\ndata: ", &long, &long, b"\n\nevent: a\ndata: 1\n\n"]);
        assert_eq!(found, [("a".to_owned(), "1".to_owned())]);
    }

    #[test]
    fn nothing_between_the_two_bytes_of_a_line_end_changes_nothing() {
        let expected = [("a".to_owned(), "1".to_owned())];
        assert_eq!(events(&[b"event: a\r", b"", b"\ndata: 1\r", b"", b"\n\r\n"]), expected);
    }

    proptest! {
        #[test]
        fn cuts_change_nothing(first in 0..STREAM.len(), second in 0..STREAM.len()) {
            let (first, second) = (first.min(second), first.max(second));
            prop_assert_eq!(events(&[&STREAM[..first], &STREAM[first..second], &STREAM[second..]]), events(&[STREAM]));
        }

        #[test]
        fn any_bytes_give_the_same_events_byte_by_byte(bytes in prop::collection::vec(prop::sample::select(b"event:data \r\n".to_vec()), 0..80)) {
            let single: Vec<&[u8]> = bytes.chunks(1).collect();
            prop_assert_eq!(events(&single), events(&[&bytes]));
        }
    }
}
