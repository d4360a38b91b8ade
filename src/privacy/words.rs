//! What a request and its answer say, listened to once: a keyed hash, what is found in it, and what of it is kept.

use super::{Findings, KeyedHash, Kind, MaskStream, Masker, Privacy, Prompts, TagKey};
use crate::claude::{AnswerText, PromptText, Shape, Unreadable, texts};

/// Listens to requests and answers, as the configuration says.
pub struct Listener {
    privacy: Privacy,
    key: TagKey,
    /// Most bytes of a text that are kept, masked; `None`: nothing is.
    keep: Option<usize>,
}

/// What a request says.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Said {
    /// Keyed hash of the prompt's text ([`PromptText`]): 32 hex digits; `None` when there is no such text.
    pub hash: Option<String>,
    /// What was found in all texts; empty when prompts are not looked at.
    pub findings: Findings,
    /// The kind that stops the request.
    pub blocked_by: Option<Kind>,
    /// The prompt's text, masked and cut to the bound.
    pub kept: Option<String>,
}

impl Listener {
    /// With the detectors and the rule for prompts of `privacy`; at most `keep` bytes of a text are kept.
    pub fn new(privacy: Privacy, keep: Option<usize>) -> Self {
        let key = privacy.tag_key().derive("text");
        Self { privacy, key, keep }
    }

    /// Listens to a body that [`peek`](crate::claude::peek()) has accepted as one of `shape`.
    ///
    /// # Errors
    /// When its texts cannot be read and prompts are looked at or kept: what cannot be read cannot be judged. Otherwise such a
    /// body has no hash.
    pub fn request(&self, body: &[u8], shape: Shape) -> Result<Said, Unreadable> {
        let looks = self.privacy.prompt_rule().prompts != Prompts::Off;
        let masker = self.privacy.masker();
        let mut prompt = Prompt::new(self, &masker, looks);
        let mut others = looks.then(|| masker.stream());
        let mut unwanted = String::new();
        let mut text = PromptText::default();
        let read = texts(body, shape, |piece| {
            let is_prompt = text.take(piece, |part| prompt.take(part));
            if let (false, Some(others)) = (is_prompt, &mut others) {
                others.push(piece.text, &mut unwanted);
                others.push("\n", &mut unwanted);
                unwanted.clear();
            }
        });
        match read {
            Err(unreadable) if looks || self.keep.is_some() => return Err(unreadable),
            Err(_) => return Ok(Said::default()),
            Ok(()) => {}
        }
        let mut said = prompt.finish();
        if let Some(others) = others {
            for (kind, count) in others.finish(&mut unwanted) {
                *said.findings.entry(kind).or_default() += count;
            }
            said.blocked_by = self.privacy.prompt_rule().blocked_by(&said.findings);
        } else {
            said.findings.clear(); // of what was kept, nobody asked
        }
        Ok(said)
    }

    /// For an answer that is about to come.
    pub fn answer(&self) -> AnswerWords {
        let collected = self.keep.map(|keep| Collected {
            text: String::new(),
            room: keep + MaskStream::HELD,
            last: None,
            escape: String::new(),
        });
        AnswerWords { hash: None, collected }
    }

    /// Ends listening to an answer: the keyed hash of its words, and its texts, masked and cut to the bound.
    pub fn conclude(&self, words: AnswerWords) -> (Option<String>, Option<String>) {
        let kept = words.collected.zip(self.keep).map(|(collected, keep)| {
            let mut kept = String::new();
            let masker = self.privacy.masker();
            let mut stream = masker.stream();
            stream.push(&collected.text, &mut kept);
            if collected.room > 0 {
                stream.finish(&mut kept);
            } // else what is not decided is past the bound, and may be half of something
            cut(&mut kept, keep);
            kept
        });
        (words.hash.map(KeyedHash::digits), kept)
    }
}

/// A prompt's text on its way through the hash and the masking.
struct Prompt<'l> {
    listener: &'l Listener,
    hash: Option<KeyedHash>,
    /// Until nothing is asked of it any more.
    stream: Option<MaskStream<'l>>,
    kept: String,
    /// The text is cut: nothing that comes later belongs behind it.
    full: bool,
    looks: bool,
}

impl<'l> Prompt<'l> {
    fn new(listener: &'l Listener, masker: &'l Masker, looks: bool) -> Self {
        let stream = (looks || listener.keep.is_some()).then(|| masker.stream());
        Self { listener, hash: None, stream, kept: String::new(), full: false, looks }
    }

    fn take(&mut self, part: &str) {
        self.hash.get_or_insert_with(|| self.listener.key.hasher()).update(part.as_bytes());
        if let Some(stream) = &mut self.stream {
            let before = self.kept.len();
            stream.push(part, &mut self.kept);
            self.cut(before);
        }
        if self.full && !self.looks {
            self.stream = None;
        }
    }

    /// Cuts what is kept, of which `before` bytes were there already.
    fn cut(&mut self, before: usize) {
        let most = self.listener.keep.unwrap_or_default();
        if self.full {
            self.kept.truncate(before);
        } else if self.kept.len() > most {
            cut(&mut self.kept, most);
            self.full = true;
        }
    }

    fn finish(mut self) -> Said {
        let mut said = Said { hash: self.hash.take().map(KeyedHash::digits), ..Said::default() };
        if let Some(stream) = self.stream.take() {
            let before = self.kept.len();
            said.findings = stream.finish(&mut self.kept);
            self.cut(before);
        }
        said.kept = self.listener.keep.map(|_| self.kept);
        said
    }
}

/// The words of an answer so far.
pub struct AnswerWords {
    hash: Option<KeyedHash>,
    collected: Option<Collected>,
}

/// An answer's texts, in bounded memory: masked when the answer is over.
struct Collected {
    text: String,
    /// Bytes that still fit.
    room: usize,
    /// The block that the text ends with.
    last: Option<u64>,
    /// An escape of a tool's input that has not ended.
    escape: String,
}

impl AnswerWords {
    /// Bytes that [`Listener::conclude`] is to mask.
    pub fn collected_bytes(&self) -> usize {
        self.collected.as_ref().map_or(0, |collected| collected.text.len())
    }

    /// Takes a piece of the answer. The hash is of its words alone, so that an answer has one hash whether or not it was a
    /// stream; of texts that are kept, blocks stand on lines of their own.
    pub fn take(&mut self, listener: &Listener, kind: AnswerText, text: &str, block: u64) {
        if kind == AnswerText::Text {
            self.hash.get_or_insert_with(|| listener.key.hasher()).update(text.as_bytes());
        }
        if let Some(collected) = &mut self.collected {
            if collected.last.replace(block).is_some_and(|last| last != block) {
                collected.escape.clear();
                collected.push("\n");
            }
            if kind == AnswerText::ToolInput {
                collected.push_json(text);
            } else {
                collected.push(text);
            }
        }
    }
}

impl Collected {
    /// Takes a piece of a JSON document with its escapes resolved: in `\n4111...` the `n` would pass for a letter before a
    /// number, which detectors take for a part of a longer word.
    fn push_json(&mut self, mut json: &str) {
        while !json.is_empty() && self.room > 0 {
            if self.escape.is_empty() {
                let plain = memchr::memchr(b'\\', json.as_bytes()).unwrap_or(json.len());
                let (text, rest) = json.split_at(plain);
                self.push(text);
                json = rest;
            }
            let Some(next) = json.chars().next() else { return };
            self.escape.push(next);
            json = json.get(next.len_utf8()..).unwrap_or_default();
            if let Some(decoded) = unescaped(&self.escape) {
                self.push(&decoded);
                self.escape.clear();
            }
        }
    }

    fn push(&mut self, text: &str) {
        let fits = text.get(..text.floor_char_boundary(self.room)).unwrap_or_default();
        self.text.push_str(fits);
        // Once something did not fit nothing does: the text would have a hole.
        self.room = if fits.len() < text.len() { 0 } else { self.room - fits.len() };
    }
}

/// What an escape of JSON stands for, once all of it is there; half a surrogate pair waits for the other. What stands for
/// nothing stands for itself.
fn unescaped(escape: &str) -> Option<String> {
    let wanted = match escape.as_bytes() {
        [_, b'u', b'd' | b'D', b'8' | b'9' | b'a' | b'A' | b'b' | b'B', ..] => 12,
        [_, b'u', ..] => 6,
        _ => 2,
    };
    let is_whole = escape.len() >= wanted;
    is_whole.then(|| serde_json::from_str(&["\"", escape, "\""].concat()).unwrap_or_else(|_| escape.to_owned()))
}

fn cut(text: &mut String, most: usize) {
    text.truncate(text.floor_char_boundary(most));
}

#[cfg(test)]
mod tests;
