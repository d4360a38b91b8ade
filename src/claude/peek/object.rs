//! The walk over the objects of a body that policy reads: which keys count at which level, and what becomes of them.

use std::borrow::Cow;
use std::fmt;
use std::sync::LazyLock;

use memchr::memmem::Finder;
use serde::de::{self, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;
use smallvec::SmallVec;

use super::Shape;
use super::ask::{Reader, Thinking, is_api_name};
use super::value::{Any, Lenient, List, McpServers, NonEmpty, Optional, ResourceModel, Text, wrong};
use crate::claude::model::Model;
use crate::claude::tools;

/// Reads `text` as a body of `shape` into `reader`.
///
/// # Errors
/// Says what is wrong, for the caller.
pub(super) fn read(text: &str, shape: Shape, reader: &mut Reader) -> Result<(), String> {
    let level = match shape {
        Shape::Message => Level::Message,
        Shape::Batch => Level::Batch,
        Shape::Resource => Level::Resource,
    };
    let mut json = serde_json::Deserializer::from_str(text);
    let read = Object { level, reader }.deserialize(&mut json).and_then(|()| json.end());
    read.map_err(|error| explain(&error))
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
pub(super) enum Level {
    /// Parameters of a message.
    Message,
    /// Parameters that a message has with another model.
    Fallback,
    /// The body of a batch.
    Batch,
    /// One request of a batch.
    BatchItem,
    /// How a message thinks.
    Thinking,
    /// The container of a message's code.
    Container,
    /// A turn of the conversation.
    Turn,
    /// A content block of a turn or of the system prompt.
    Block,
    /// Where a block's image or document comes from.
    Source,
    /// The tool that a `tool_addition` block brings, or a `compaction` block carries on.
    ToolAddition,
    /// A tool of a message.
    Tool,
    /// An MCP server of a message.
    McpServer,
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
    Speed,
    Type,
    Budget,
    FileId,
    Name,
    InferenceGeo,
    McpServers,
    Skills,
    /// The conversation, which may add tools and files on its way.
    Turns,
    /// The system prompt, which may hold blocks.
    System,
    /// A list of objects of a level.
    List(Level),
    /// Whatever objects of a level there are in lists or alone.
    Any(Level),
    /// An object of a level.
    Nested(Level),
    /// An object of a level, or null.
    Optional(Level),
}

const MESSAGE: &[(&str, Field)] = &[
    ("model", Field::Model),
    ("messages", Field::Turns),
    ("max_tokens", Field::MaxTokens),
    ("stream", Field::Stream),
    ("speed", Field::Speed),
    ("system", Field::System),
    // Server tools that call another model, such as the advisor, name it in the tool.
    ("tools", Field::List(Level::Tool)),
    ("thinking", Field::Optional(Level::Thinking)),
    ("mcp_servers", Field::McpServers),
    ("container", Field::Any(Level::Container)),
    ("inference_geo", Field::InferenceGeo),
    // Models that answer when the first one does not. The text "default" leaves the choice to the API: it names nothing
    // that could be judged, and is refused as no list.
    ("fallbacks", Field::List(Level::Fallback)),
];

impl Level {
    /// The keys that are read at this level.
    fn fields(self) -> &'static [(&'static str, Field)] {
        match self {
            Self::Message | Self::Fallback => MESSAGE,
            Self::Batch => &[("requests", Field::List(Level::BatchItem))],
            Self::BatchItem => &[("params", Field::Nested(Level::Message))],
            Self::Thinking => &[("type", Field::Type), ("budget_tokens", Field::Budget)],
            Self::Container => &[("skills", Field::Skills)],
            Self::Turn => &[("content", Field::Any(Level::Block))],
            Self::Block => &[
                ("type", Field::Type),
                ("content", Field::Any(Level::Block)),
                ("source", Field::Any(Level::Source)),
                ("file_id", Field::FileId),
                ("tool", Field::Any(Level::ToolAddition)),
                ("tool_changes", Field::Any(Level::Block)),
            ],
            Self::Source => &[("type", Field::Type), ("file_id", Field::FileId), ("content", Field::Any(Level::Block))],
            Self::ToolAddition => &[("definition", Field::Any(Level::Tool))],
            Self::Tool => &[
                ("type", Field::Type),
                ("name", Field::Name),
                ("model", Field::Model),
                ("max_tokens", Field::MaxTokens),
            ],
            Self::McpServer => &[("name", Field::Name)],
            Self::Resource => &[("model", Field::Model)],
            Self::ModelObject => &[("model", Field::Model), ("id", Field::Model)],
        }
    }

    /// Whether objects below unread keys are read too. Agents name models in nested places that grow with the API.
    fn is_deep(self) -> bool {
        matches!(self, Self::Resource | Self::ModelObject)
    }

    /// The key that must be there.
    fn required(self) -> Option<&'static str> {
        match self {
            Self::Message | Self::Fallback => Some("model"),
            Self::Batch => Some("requests"),
            Self::BatchItem => Some("params"),
            _ => None,
        }
    }

    /// What reads the value of `key`. `Err` when `key` is a known one in another case: some JSON readers take it for the
    /// known one (Go's, for instance), others do not.
    fn field(self, key: &str) -> Result<Option<Field>, &'static str> {
        let fields = self.fields();
        if let Some(&(_, field)) = fields.iter().find(|(name, _)| key == *name) {
            return Ok(Some(field));
        }
        if key.bytes().all(|byte| byte.is_ascii() && !byte.is_ascii_uppercase()) {
            return Ok(None);
        }
        match fields.iter().find(|(name, _)| key.len() >= name.len() && key.chars().map(fold).eq(name.chars())) {
            Some(&(name, _)) => Err(name),
            None => Ok(None),
        }
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

/// Reads one object of a level.
pub(super) struct Object<'p> {
    pub(super) level: Level,
    pub(super) reader: &'p mut Reader,
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
        let Self { level, reader } = self;
        let is_message = matches!(level, Level::Message | Level::Fallback);
        let outer = is_message.then(|| std::mem::take(&mut reader.draft));
        let mut part = Part::default();
        let mut seen: SmallVec<[Cow<'de, str>; 24]> = SmallVec::new();
        while let Some(Text(key)) = map.next_key()? {
            if seen.contains(&key) {
                return Err(de::Error::custom(format_args!("{}: is there twice", shown(&key))));
            }
            if seen.len() == MAX_KEYS {
                return Err(de::Error::custom("an object has too many keys"));
            }
            let field = level
                .field(&key)
                .map_err(|name| de::Error::custom(format_args!("{name}: is spelled with other letter case")))?;
            match field {
                Some(field) => read_field(&mut map, field, level, reader, &mut part)?,
                None if level.is_deep() => map.next_value_seed(Any { level: Level::Resource, reader })?,
                None => {
                    map.next_value::<IgnoredAny>()?;
                    if matches!(level, Level::Message | Level::Batch) {
                        reader.unknown_field(&key);
                    }
                }
            }
            seen.push(key);
        }
        if let Some(name) = level.required().filter(|name| !seen.iter().any(|key| key == name)) {
            return Err(de::Error::custom(format_args!("{name}: is missing")));
        }
        part.end(level, reader).map_err(de::Error::custom)?;
        if let Some(outer) = outer {
            let message = std::mem::replace(&mut reader.draft, outer);
            let settled = match level {
                Level::Fallback => reader.draft.falls_back_to(message),
                _ => reader.settle(message),
            };
            settled.map_err(de::Error::custom)?;
        }
        Ok(())
    }
}

/// Reads the value of a key that counts.
fn read_field<'de, A: MapAccess<'de>>(
    map: &mut A,
    field: Field,
    level: Level,
    reader: &mut Reader,
    part: &mut Part<'de>,
) -> Result<(), A::Error> {
    match field {
        Field::Model if level.is_deep() => {
            let read = map.next_value_seed(ResourceModel(reader));
            read.map_err(|error| wrong("model", "must be a model's name", error))?;
        }
        Field::Model => {
            let Text(name) = map.next_value().map_err(|error| wrong("model", "must be a model's name", error))?;
            let model = Model::parse(&name);
            let model = model.ok_or_else(|| de::Error::custom("model: is not spelled like a model's name"))?;
            let place = if level == Level::Tool { &mut part.model } else { &mut reader.draft.model };
            *place = Some(model);
        }
        Field::MaxTokens if level == Level::Message => {
            reader.draft.max_tokens = Some(number(map, "max_tokens")?);
        }
        Field::MaxTokens => {
            let read = map.next_value::<Option<u64>>();
            let tokens = read.map_err(|error| wrong("max_tokens", "must be a whole number", error))?;
            let place = if level == Level::Tool { &mut part.max_tokens } else { &mut reader.draft.max_tokens };
            *place = tokens;
        }
        Field::Stream => {
            let stream = map.next_value::<bool>();
            reader.found.stream |= stream.map_err(|error| wrong("stream", "must be true or false", error))?;
        }
        Field::Speed => {
            let speed = map.next_value::<Option<Text<'de>>>();
            let speed = speed.map_err(|error| wrong("speed", "must be text", error))?;
            // One that this version does not know is taken for the dear one.
            reader.found.fast |= speed.is_some_and(|Text(speed)| speed != "standard");
        }
        Field::Type => {
            let kind = map.next_value::<Option<Text<'de>>>();
            part.kind = kind.map_err(|error| wrong("type", "must be text", error))?.map(|Text(kind)| kind);
        }
        Field::Budget => part.budget = Some(number(map, "budget_tokens")?),
        Field::FileId => {
            map.next_value::<IgnoredAny>()?;
            part.file = true;
        }
        Field::Name => part.name = map.next_value_seed(Lenient)?,
        Field::InferenceGeo => {
            let text = map.next_value::<Option<Text<'de>>>();
            let text = text.map_err(|error| wrong("inference_geo", "must be text", error))?;
            reader.draft.features.inference_geo = text.map(|Text(geo)| region(&geo)).transpose()?;
        }
        Field::McpServers => {
            let some = map.next_value_seed(McpServers(&mut *reader));
            let some = some.map_err(|error| wrong("mcp_servers", "must be a list", error))?;
            reader.draft.features.mcp_servers |= some;
        }
        Field::Skills => reader.draft.features.skills |= non_empty(map, "skills")?,
        Field::Turns => read_blocks(map.next_value()?, Level::Turn, reader)?,
        Field::System => read_blocks(map.next_value()?, Level::Block, reader)?,
        Field::List(level) => {
            let list = map.next_value_seed(List { level, reader });
            list.map_err(|error| wrong(level.list_name(), "must be a list of objects", error))?;
        }
        Field::Any(level) => map.next_value_seed(Any { level, reader })?,
        Field::Nested(level) => {
            let nested = map.next_value_seed(Object { level, reader });
            nested.map_err(|error| wrong("params", "must be an object", error))?;
        }
        Field::Optional(level) => {
            let nested = map.next_value_seed(Optional(Object { level, reader }));
            nested.map_err(|error| wrong("thinking", "must be an object", error))?;
        }
    }
    Ok(())
}

impl Level {
    /// The key under which objects of this level are listed.
    fn list_name(self) -> &'static str {
        match self {
            Self::BatchItem => "requests",
            Self::Fallback => "fallbacks",
            _ => "tools",
        }
    }
}

fn number<'de, A: MapAccess<'de>>(map: &mut A, key: &str) -> Result<u64, A::Error> {
    map.next_value::<u64>().map_err(|error| wrong(key, "must be a whole number", error))
}

fn non_empty<'de, A: MapAccess<'de>>(map: &mut A, key: &str) -> Result<bool, A::Error> {
    map.next_value_seed(NonEmpty).map_err(|error| wrong(key, "must be a list", error))
}

/// A region's name, as a rule can list it.
fn region<E: de::Error>(name: &str) -> Result<Box<str>, E> {
    let spelled = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_');
    if name.is_empty() || name.len() > 64 || !name.bytes().all(spelled) {
        return Err(E::custom("inference_geo: is not spelled like a region's name"));
    }
    Ok(name.into())
}

/// What an object says of itself that is judged at its end, for keys come in any order.
#[derive(Default)]
struct Part<'de> {
    kind: Option<Cow<'de, str>>,
    name: Option<Cow<'de, str>>,
    model: Option<Model>,
    max_tokens: Option<u64>,
    budget: Option<u64>,
    file: bool,
}

impl Part<'_> {
    /// Notes in `reader` what the object asks for.
    fn end(self, level: Level, reader: &mut Reader) -> Result<(), &'static str> {
        let draft = &mut reader.draft;
        match level {
            Level::McpServer => reader.tool("mcp:", self.name.as_deref().unwrap_or_default()),
            Level::Thinking => {
                draft.thinking = Some(match (self.kind.as_deref(), self.budget) {
                    (Some("disabled"), _) => Thinking::Off,
                    (Some("enabled"), Some(tokens)) => Thinking::Budget(tokens),
                    _ => Thinking::Open,
                });
            }
            Level::Tool => {
                let mut run_by_api = false;
                if let Some(kind) = &self.kind {
                    let tool = tools::server_tool(kind).map_err(|()| "tools: a type is not spelled like a tool's")?;
                    run_by_api = tool.is_some();
                    if let Some(tool) = tool {
                        draft.uses(tool)?;
                    }
                }
                if let Some(model) = self.model {
                    draft.advised_by(model, self.max_tokens)?;
                }
                let name = if run_by_api { self.kind } else { self.name };
                reader.tool("", name.as_deref().unwrap_or_default());
            }
            // What code that the API ran left behind is told of in the history by its id, which fetches nothing.
            Level::Block => {
                let output =
                    matches!(self.kind.as_deref(), Some("code_execution_output" | "bash_code_execution_output"));
                draft.features.files |= self.file && !output;
            }
            Level::Source => draft.features.files |= self.file || self.kind.as_deref() == Some("file"),
            _ => {}
        }
        Ok(())
    }
}

/// Reads the tools that a conversation adds and the files that it brings. Nearly none does, and the conversation is most
/// of the body: it is read only when it has a key that they need, plainly or behind an escape.
fn read_blocks<E: de::Error>(blocks: &RawValue, level: Level, reader: &mut Reader) -> Result<(), E> {
    let text = blocks.get();
    if !TELLING.iter().any(|key| key.find(text.as_bytes()).is_some()) {
        return Ok(());
    }
    let mut json = serde_json::Deserializer::from_str(text);
    let read = Any { level, reader }.deserialize(&mut json);
    read.map_err(|error| E::custom(explain(&error)))
}

/// The keys for which blocks are read, and the escape that could hide one. Made once, for that costs more than a search
/// through a short conversation.
static TELLING: LazyLock<[Finder<'static>; 3]> =
    LazyLock::new(|| [Finder::new("definition"), Finder::new("file_id"), Finder::new("\\u00")]);

/// A key for a message. What is not spelled like the API's keys may be content, and is not repeated.
fn shown(key: &str) -> &str {
    if is_api_name(key) { key } else { "a key" }
}
