//! The walk over a whole body that tells its texts, and which parts of the API's objects are none.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::{Piece, Role, Unreadable};
use crate::claude::known::known_field;
use crate::claude::peek::{Shape, Text};

/// Tells the texts of `body`.
pub(super) fn read(body: &str, shape: Shape, on_text: &mut dyn FnMut(Piece<'_>)) -> Result<(), Unreadable> {
    let place = match shape {
        Shape::Message => Place::Message,
        Shape::Batch => Place::Batch,
        Shape::Resource => Place::Resource,
    };
    let mut walk = Walk { on_text, begun: false };
    walk.read(body, place).map_err(|error| {
        // The parser's category is that of any bad syntax, and its kinds are private.
        if error.to_string().starts_with("recursion limit") { Unreadable::TooDeep } else { Unreadable::Invalid }
    })
}

struct Walk<'w> {
    on_text: &'w mut dyn FnMut(Piece<'_>),
    /// The turn, system prompt or result that is being read has told words already.
    begun: bool,
}

/// Where in a body a value stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Parameters of a message, or a list of them.
    Message,
    Batch,
    BatchItem,
    /// A turn of the conversation, or the list of them.
    Turn,
    /// Words of a role, a content block with them, or a list of these.
    Content(Role),
    /// Where a block's image or document comes from.
    Source(Role),
    Citation,
    McpServer,
    /// A body that is no message: its objects may hold blocks and system prompts.
    Resource,
    /// Whatever the client likes.
    Free(Role),
}

/// What becomes of the value of a key.
enum Field {
    /// Read at a place, its key being the API's own.
    At(Place),
    /// The words of a turn, a system prompt or a result begin.
    Begins(Role),
    /// A turn's list, which follows the system prompt.
    Turns,
    /// `type` and `role`.
    Word,
    /// What the API alone can read, when the object is of this type.
    Opaque(&'static str),
    /// Nobody's text.
    Skipped,
    /// Read at a place, its key being a text as well.
    Keyed(Place),
}

impl Place {
    #[allow(clippy::match_same_arms)] // a table, in the order of the places
    fn field(self, key: &str) -> Field {
        use Field::{At, Begins, Keyed, Opaque, Skipped, Turns, Word};
        match (self, key) {
            (Self::Message | Self::Resource, "system") => Begins(Role::System),
            (Self::Message, "messages") => Turns,
            (Self::Resource, "messages") => At(Self::Turn),
            (Self::Message | Self::Resource, "tools") => At(Self::Free(Role::ToolDefinition)),
            (Self::Message | Self::Resource, "mcp_servers") => At(Self::McpServer),
            (Self::Message, "fallbacks") => At(Self::Message),
            (Self::Message, key) if known_field(key) => At(Self::Free(Role::Other)),
            (Self::Batch, "requests") => At(Self::BatchItem),
            (Self::BatchItem, "params") => At(Self::Message),
            (Self::BatchItem, "custom_id") => At(Self::Free(Role::Other)),
            (Self::Turn | Self::Resource, "content") => Begins(Role::Prompt),
            (Self::Turn, "role") | (Self::Turn | Self::Content(_) | Self::Source(_) | Self::Citation, "type") => Word,
            (Self::Content(role), "text" | "thinking") => At(Self::Content(role)),
            (Self::Content(_), "content") => Begins(Role::ToolResult),
            (Self::Content(role), "source") => At(Self::Source(role)),
            (Self::Content(_), "citations") => At(Self::Citation),
            (Self::Content(_), "tool" | "tool_changes") => At(Self::Free(Role::ToolDefinition)),
            (Self::Content(_), "signature") => Opaque("thinking"),
            (Self::Content(_), "data") => Opaque("redacted_thinking"),
            (Self::Content(_), "encrypted_content") => Opaque(ENCRYPTED_CONTENT),
            (Self::Content(_), "encrypted_stdout") => Opaque("encrypted_code_execution_result"),
            (Self::Content(_), key) if BLOCK.contains(&key) => At(Self::Free(Role::Other)),
            (Self::Source(_), "data") => Opaque("base64"),
            (Self::Source(role), "content") => At(Self::Content(role)),
            (Self::Source(_), "media_type" | "url" | "file_id") => At(Self::Free(Role::Other)),
            (Self::Citation, "encrypted_index") => Opaque("web_search_result_location"),
            (Self::McpServer, "authorization_token") => Skipped,
            (Self::McpServer, _) => Keyed(Self::Free(Role::ToolDefinition)),
            (Self::Resource, _) => Keyed(Self::Resource),
            (Self::Free(role), _) => Keyed(Self::Free(role)),
            _ => Keyed(Self::Free(Role::Other)),
        }
    }

    /// What a value that turned out to be no secret of the API's is.
    fn of_opaque(self) -> Self {
        if let Self::Source(role) = self { Self::Content(role) } else { Self::Free(Role::Other) }
    }
}

/// Keys of content blocks whose values are texts beside the words.
const BLOCK: [&str; 11] =
    ["cache_control", "caller", "context", "file_id", "id", "input", "is_error", "name", "title", "tool_use_id", "url"];
/// Stands for the types of blocks that have `encrypted_content`.
const ENCRYPTED_CONTENT: &str = "encrypted_content";

impl Walk<'_> {
    fn read(&mut self, json: &str, place: Place) -> Result<(), serde_json::Error> {
        let mut json = serde_json::Deserializer::from_str(json);
        Value { place, walk: self }.deserialize(&mut json).and_then(|()| json.end())
    }

    /// Reads a value that was passed over before.
    fn read_held<E: serde::de::Error>(&mut self, json: &RawValue, place: Place) -> Result<(), E> {
        self.read(json.get(), place).map_err(E::custom)
    }

    fn tell(&mut self, text: &str, place: Place) {
        let (role, joins) = match place {
            Place::Content(role) => (role, std::mem::replace(&mut self.begun, true)),
            Place::Free(role) => (role, false),
            _ => (Role::Other, false),
        };
        (self.on_text)(Piece { text, role, joins });
    }

    fn tell_number(&mut self, magnitude: u64, number: impl fmt::Display, place: Place) {
        if magnitude >= TELLING_NUMBER && matches!(place, Place::Free(_) | Place::Resource) {
            self.tell(&number.to_string(), place);
        }
    }

    /// Reads a `type` or a `role` and gives it when it is spelled like the API's own words.
    fn read_word<'de, E: serde::de::Error>(&mut self, json: &'de RawValue) -> Result<Option<&'de str>, E> {
        let word = json.get().strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).filter(|word| is_word(word));
        if word.is_none() {
            self.read_held(json, Place::Free(Role::Other))?;
        }
        Ok(word)
    }
}

/// A whole number from here on is a text: it may be an identifier.
const TELLING_NUMBER: u64 = 1_000_000;

/// Whether `text` is spelled like the API's own words. More digits than a date has might be an identifier.
fn is_word(text: &str) -> bool {
    let spelled = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'_' | b'.');
    let digits = || text.bytes().filter(u8::is_ascii_digit).count();
    text.len() <= 40
        && text.starts_with(|first: char| first.is_ascii_lowercase())
        && text.bytes().all(spelled)
        && digits() <= 8
}

/// A value at a place.
struct Value<'p, 'w> {
    place: Place,
    walk: &'p mut Walk<'w>,
}

impl<'de> DeserializeSeed<'de> for Value<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Value<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        self.walk.tell(text, self.place);
        Ok(())
    }

    fn visit_u64<E>(self, number: u64) -> Result<(), E> {
        self.walk.tell_number(number, number, self.place);
        Ok(())
    }

    fn visit_i64<E>(self, number: i64) -> Result<(), E> {
        self.walk.tell_number(number.unsigned_abs(), number, self.place);
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let Self { place, walk } = self;
        while let Some(()) = seq.next_element_seed(Value { place, walk: &mut *walk })? {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Self { place, walk } = self;
        let mut held = Held::default();
        while let Some(Text(key)) = map.next_key()? {
            match place.field(&key) {
                Field::At(place) => map.next_value_seed(Value { place, walk: &mut *walk })?,
                Field::Keyed(inner) => {
                    walk.tell(&key, place.of_key());
                    map.next_value_seed(Value { place: inner, walk: &mut *walk })?;
                }
                Field::Begins(role) => {
                    let outer = std::mem::take(&mut walk.begun);
                    map.next_value_seed(Value { place: Place::Content(role), walk: &mut *walk })?;
                    walk.begun = outer;
                    if role == Role::System {
                        held.system = true;
                        held.tell_turns(walk)?;
                    }
                }
                Field::Turns if held.system || held.turns.is_some() => {
                    map.next_value_seed(Value { place: Place::Turn, walk: &mut *walk })?;
                }
                Field::Turns => held.turns = Some(map.next_value()?),
                Field::Word => {
                    let word = walk.read_word(map.next_value()?)?.unwrap_or_default();
                    // A type that is there twice is none.
                    held.kind = Some(if held.kind.is_some() { "" } else { word });
                }
                Field::Opaque(kind) if held.opaque.is_none() => held.opaque = Some((kind, map.next_value()?)),
                Field::Opaque(_) => map.next_value_seed(Value { place: place.of_opaque(), walk: &mut *walk })?,
                Field::Skipped => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        held.tell_turns(walk)?;
        held.tell_opaque(walk, place)
    }
}

impl Place {
    /// The place of a key that is a text.
    fn of_key(self) -> Self {
        match self {
            Self::Free(_) => self,
            Self::McpServer => Self::Free(Role::ToolDefinition),
            _ => Self::Free(Role::Other),
        }
    }
}

/// Values of an object that wait for another key of it.
#[derive(Default)]
struct Held<'de> {
    system: bool,
    turns: Option<&'de RawValue>,
    kind: Option<&'de str>,
    opaque: Option<(&'static str, &'de RawValue)>,
}

impl Held<'_> {
    fn tell_turns<E: serde::de::Error>(&mut self, walk: &mut Walk<'_>) -> Result<(), E> {
        self.turns.take().map_or(Ok(()), |turns| walk.read_held(turns, Place::Turn))
    }

    fn tell_opaque<E: serde::de::Error>(self, walk: &mut Walk<'_>, place: Place) -> Result<(), E> {
        let Some((wanted, value)) = self.opaque else { return Ok(()) };
        let kind = self.kind.unwrap_or_default();
        let of_kind = match wanted {
            ENCRYPTED_CONTENT => matches!(kind, "web_search_result" | "compaction" | "advisor_redacted_result"),
            wanted => kind == wanted,
        };
        if of_kind && is_base64(value.get()) {
            return Ok(());
        }
        walk.read_held(value, place.of_opaque())
    }
}

/// Whether a JSON value is a string in base64, line ends allowed. Some JSON writers put a backslash before each slash.
fn is_base64(json: &str) -> bool {
    let Some(text) = json.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) else { return false };
    // A loop without a way out is one that the compiler can make wide.
    let spelled =
        |text: &[u8]| text.chunks(256).all(|part| part.iter().fold(true, |all, &byte| all & is_base64_byte(byte)));
    if spelled(text.as_bytes()) {
        return true;
    }
    memchr::memchr(b'\\', text.as_bytes()).is_some()
        && serde_json::from_str::<Text<'_>>(json)
            .is_ok_and(|Text(text)| text.bytes().all(|byte| is_base64_byte(byte) || matches!(byte, b'\r' | b'\n')))
}

fn is_base64_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() | matches!(byte, b'+' | b'/' | b'=' | b'-' | b'_')
}
