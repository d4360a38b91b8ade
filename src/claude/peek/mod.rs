//! Reads from a request body what policy decides on, and refuses what could be read in two ways.
//!
//! The bytes themselves are what goes upstream, so this reading must agree with the upstream's. Where parsers differ
//! (duplicate keys, names that differ in case, numbers for integers) the body is refused instead of guessed at.

use std::borrow::Cow;
use std::fmt;

use serde::de::{self, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Unexpected, Visitor};
use serde_json::value::RawValue;
use smallvec::SmallVec;

use super::model::Model;

/// What a body asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Peek {
    /// Every model that the body names, each once, the first one named first.
    pub models: SmallVec<[Model; 1]>,
    /// Whether the answer is to be an SSE stream.
    pub stream: bool,
    /// The largest `max_tokens` in the body.
    pub max_tokens: Option<u64>,
    /// How many messages are asked for: one, or the items of a batch.
    pub items: usize,
}

/// How a body of an endpoint is laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// The parameters of one message: `model` is required.
    Message,
    /// `requests`, a list of `{"params": <message>}`.
    Batch,
    /// Any other object: whatever it names as a model is judged, and it may name none.
    Resource,
}

/// Reads `body`.
///
/// # Errors
/// Says what is wrong, for the caller, when `body` is no UTF-8, no JSON object, nested deeper than 128 levels, has a
/// duplicate key or a key that differs from a known one only by case, or has a value of the wrong type.
pub fn peek(body: &[u8], shape: Shape) -> Result<Peek, String> {
    let text = std::str::from_utf8(body).map_err(|_| "the body is not valid UTF-8".to_owned())?;
    let mut peek = Peek::default();
    let mut json = serde_json::Deserializer::from_str(text);
    let level = match shape {
        Shape::Message => Level::Message,
        Shape::Batch => Level::Batch,
        Shape::Resource => Level::Resource,
    };
    Object { level, peek: &mut peek }
        .deserialize(&mut json)
        .and_then(|()| json.end())
        .map_err(|error| explain(&error))?;
    if peek.items == 0 && shape == Shape::Batch {
        return Err("requests: is missing".to_owned());
    }
    Ok(peek)
}

/// Our own messages stand as they are; those of the JSON parser may quote the body and are put in general words.
fn explain(error: &serde_json::Error) -> String {
    if error.is_data() {
        let text = error.to_string();
        if text.starts_with("invalid type") {
            return "the body must be a JSON object".to_owned(); // `wrong` has put the others in words
        }
        return text.split(" at line ").next().unwrap_or_default().to_owned();
    }
    "the body is not valid JSON".to_owned()
}

/// Which object of the body is being read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Level {
    /// Parameters of a message.
    Message,
    /// The body of a batch.
    Batch,
    /// One request of a batch.
    BatchItem,
    /// A turn of the conversation.
    Turn,
    /// A content block of a turn.
    Block,
    /// The tool that a `tool_addition` block brings, or a `compaction` block carries on.
    ToolAddition,
    /// A tool of a message.
    Tool,
    /// Any object, and every object in it.
    Resource,
    /// An object that may name a model by `id`, and every object in it.
    ModelObject,
}

/// What is done with the value of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    Model,
    MaxTokens,
    Stream,
    /// The conversation, which may add tools on its way.
    Turns,
    /// A list of objects of a level.
    List(Level),
    /// Whatever objects of a level there are in lists or alone.
    Any(Level),
    /// An object of a level.
    Nested(Level),
}

impl Level {
    /// The keys that are read at this level.
    fn fields(self) -> &'static [(&'static str, Field)] {
        match self {
            Self::Message => &[
                ("model", Field::Model),
                ("max_tokens", Field::MaxTokens),
                ("stream", Field::Stream),
                // Server tools that call another model, such as the advisor, name it in the tool.
                ("tools", Field::List(Level::Tool)),
                ("messages", Field::Turns),
                // Models that answer when the first one does not. The text "default" leaves the choice to the API: it
                // names nothing that could be judged, and is refused as no list.
                ("fallbacks", Field::List(Level::Message)),
            ],
            Self::Turn => &[("content", Field::Any(Level::Block))],
            Self::Block => &[
                ("tool", Field::Any(Level::ToolAddition)),
                ("tool_changes", Field::Any(Level::Block)),
                ("content", Field::Any(Level::Block)),
            ],
            Self::ToolAddition => &[("definition", Field::Any(Level::Tool))],
            Self::Batch => &[("requests", Field::List(Level::BatchItem))],
            Self::BatchItem => &[("params", Field::Nested(Level::Message))],
            Self::Tool | Self::Resource => &[("model", Field::Model)],
            Self::ModelObject => &[("model", Field::Model), ("id", Field::Model)],
        }
    }

    /// Whether objects below unread keys are read too. Agents name models in nested places that grow with the API.
    fn is_deep(self) -> bool {
        matches!(self, Self::Resource | Self::ModelObject)
    }

    /// What reads the value of `key`. `Err` when `key` is a known one in another case: some JSON readers take it for the
    /// known one (Go's, for instance), others do not.
    fn field(self, key: &str) -> Result<Option<Field>, &'static str> {
        for &(name, field) in self.fields() {
            if key == name {
                return Ok(Some(field));
            }
            if key.len() >= name.len() && key.chars().map(fold).eq(name.chars()) {
                return Err(name);
            }
        }
        Ok(None)
    }
}

/// Simple case folding as far as it can end in ASCII: the long s and the Kelvin sign fold to letters of our keys.
fn fold(letter: char) -> char {
    match letter {
        '\u{17f}' => 's',
        '\u{212a}' => 'k',
        _ => letter.to_ascii_lowercase(),
    }
}

struct Object<'p> {
    level: Level,
    peek: &'p mut Peek,
}

/// More keys than any API object has at the levels that are read; searching the keys seen stays cheap.
const MAX_KEYS: usize = 256;

impl<'de> DeserializeSeed<'de> for Object<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Object<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut seen: SmallVec<[Cow<'de, str>; 24]> = SmallVec::new();
        let mut has_model = false;
        while let Some(Key(key)) = map.next_key()? {
            if seen.contains(&key) {
                return Err(de::Error::custom(format_args!("{}: is there twice", shown(&key))));
            }
            if seen.len() == MAX_KEYS {
                return Err(de::Error::custom("an object has too many keys"));
            }
            let field = self
                .level
                .field(&key)
                .map_err(|name| de::Error::custom(format_args!("{name}: is spelled with other letter case")))?;
            match field {
                None if self.level.is_deep() => map.next_value_seed(Any { level: Level::Resource, peek: self.peek })?,
                None => drop(map.next_value::<IgnoredAny>()?),
                Some(Field::Model) => {
                    has_model = true;
                    map.next_value_seed(ModelValue(self.peek))?;
                }
                Some(Field::MaxTokens) => {
                    let tokens = map
                        .next_value::<u64>()
                        .map_err(|error| wrong("max_tokens", "must be a whole number", error))?;
                    self.peek.max_tokens = self.peek.max_tokens.max(Some(tokens));
                }
                Some(Field::Stream) => {
                    self.peek.stream =
                        map.next_value::<bool>().map_err(|error| wrong("stream", "must be true or false", error))?;
                }
                Some(Field::List(level)) => {
                    let list = map.next_value_seed(List { level, peek: self.peek });
                    list.map_err(|error| wrong(&key, "must be a list of objects", error))?;
                }
                Some(Field::Any(level)) => map.next_value_seed(Any { level, peek: self.peek })?,
                Some(Field::Turns) => read_turns(map.next_value()?, self.peek)?,
                Some(Field::Nested(level)) => {
                    let nested = map.next_value_seed(Object { level, peek: self.peek });
                    nested.map_err(|error| wrong(&key, "must be an object", error))?;
                }
            }
            seen.push(key);
        }
        let missing = match self.level {
            Level::Message => (!has_model).then_some("model"),
            Level::Batch => (!seen.iter().any(|key| key == "requests")).then_some("requests"),
            Level::BatchItem => (!seen.iter().any(|key| key == "params")).then_some("params"),
            Level::Turn | Level::Block | Level::ToolAddition | Level::Tool | Level::Resource | Level::ModelObject => {
                None
            }
        };
        if let Some(name) = missing {
            return Err(de::Error::custom(format_args!("{name}: is missing")));
        }
        Ok(())
    }
}

/// The type error of serde would quote the value; our own errors from deeper inside pass as they are.
fn wrong<E: de::Error>(key: &str, what: &str, error: E) -> E {
    let text = error.to_string();
    if text.starts_with("invalid type") || text.starts_with("invalid value") || text.starts_with("invalid number") {
        return E::custom(format_args!("{key}: {what}"));
    }
    error
}

/// A key for a message. What is not spelled like the API's keys may be content, and is not repeated.
fn shown(key: &str) -> &str {
    let spelled = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    if key.len() <= 40 && key.bytes().all(spelled) { key } else { "a key" }
}

struct List<'p> {
    level: Level,
    peek: &'p mut Peek,
}

impl<'de> DeserializeSeed<'de> for List<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for List<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while let Some(()) = seq.next_element_seed(Object { level: self.level, peek: self.peek })? {
            self.peek.items += usize::from(self.level == Level::BatchItem);
        }
        Ok(())
    }

    fn visit_str<E: de::Error>(self, _: &str) -> Result<(), E> {
        if self.level == Level::Message {
            return Err(E::custom("fallbacks: must name its models; \"default\" would leave the choice to the API"));
        }
        Err(E::invalid_type(Unexpected::Other("text"), &self))
    }

    /// The API's optional lists may be null.
    fn visit_unit<E: de::Error>(self) -> Result<(), E> {
        if self.level == Level::BatchItem {
            return Err(E::custom("requests: must be a list"));
        }
        Ok(())
    }
}

/// Reads the tools that a conversation adds on its way. Nearly none does, and the conversation is most of the body: it is
/// read only when it has the key that they need, plainly or behind an escape.
fn read_turns<E: de::Error>(turns: &RawValue, peek: &mut Peek) -> Result<(), E> {
    let text = turns.get();
    let has = |key: &str| memchr::memmem::find(text.as_bytes(), key.as_bytes()).is_some();
    if !has("definition") && !has("\\u00") {
        return Ok(());
    }
    let mut json = serde_json::Deserializer::from_str(text);
    let read = Any { level: Level::Turn, peek }.deserialize(&mut json);
    read.map_err(|error| E::custom(explain(&error)))
}

/// Any value: objects in it, alone or in lists, are read at a level, all else is passed over.
struct Any<'p> {
    level: Level,
    peek: &'p mut Peek,
}

impl<'de> DeserializeSeed<'de> for Any<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Any<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<(), A::Error> {
        Object { level: self.level, peek: self.peek }.visit_map(map)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while let Some(()) = seq.next_element_seed(Any { level: self.level, peek: self.peek })? {}
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }
}

/// A model: its name, or an object that has it as `id`.
struct ModelValue<'p>(&'p mut Peek);

impl<'de> DeserializeSeed<'de> for ModelValue<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self).map_err(|error| wrong("model", "must be a model's name", error))
    }
}

impl<'de> Visitor<'de> for ModelValue<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a model's name")
    }

    fn visit_str<E: de::Error>(self, name: &str) -> Result<(), E> {
        let model = Model::parse(name).ok_or_else(|| E::custom("model: is not spelled like a model's name"))?;
        if !self.0.models.contains(&model) {
            if self.0.models.len() == MAX_MODELS {
                return Err(E::custom("model: too many different ones in one request"));
            }
            self.0.models.push(model);
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<(), A::Error> {
        Object { level: Level::ModelObject, peek: self.0 }.visit_map(map)
    }
}

/// More different models than a batch has use for.
const MAX_MODELS: usize = 64;

/// A key with its escapes resolved, borrowed from the body when it has none.
struct Key<'de>(Cow<'de, str>);

impl<'de> de::Deserialize<'de> for Key<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct KeyVisitor;
        impl<'de> Visitor<'de> for KeyVisitor {
            type Value = Key<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a key")
            }

            fn visit_borrowed_str<E>(self, key: &'de str) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Borrowed(key)))
            }

            fn visit_str<E>(self, key: &str) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Owned(key.to_owned())))
            }
        }
        deserializer.deserialize_str(KeyVisitor)
    }
}

#[cfg(test)]
mod tests;
