//! Reads from a request body what policy decides on, and refuses what could be read in two ways.
//!
//! The bytes themselves are what goes upstream, so this reading must agree with the upstream's. Where parsers differ
//! (duplicate keys, names that differ in case, numbers for integers) the body is refused instead of guessed at.

mod ask;
mod object;
mod value;

use smallvec::SmallVec;

pub use ask::{Ask, Demand, Features};

use super::model::Model;
use ask::Reader;
pub(super) use value::Text;

/// What a request asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Peek {
    asks: SmallVec<[Ask; 1]>,
    demands: SmallVec<[Demand; 1]>,
    unknown_fields: SmallVec<[Box<str>; 0]>,
    tools: Vec<Box<str>>,
    /// Whether the answer is to be an SSE stream.
    pub stream: bool,
    /// Whether any message may run in fast mode, which has a price of its own.
    pub fast: bool,
    /// How many messages are asked for: one, or the items of a batch; none at an endpoint that answers no message.
    pub messages: u64,
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

impl Peek {
    /// What a request without a body asks for: the model that its path names, if any.
    pub fn of_path(model: Option<Model>) -> Self {
        let mut reader = Reader::default();
        if let Some(model) = model {
            // The first model is never one too many.
            let _ = reader.name(model);
        }
        reader.found
    }

    /// Each distinct demand, of which policy must allow every one. None at all when no model is named.
    ///
    /// A demand that another one contains, the same but for lower ceilings, is not there by itself: whoever may ask for
    /// the greater may ask for the lesser. So this stays short for a batch of many thousands of items.
    pub fn asks(&self) -> &[Ask] {
        &self.asks
    }

    /// What is asked of each model, the first one named first.
    pub fn demands(&self) -> impl Iterator<Item = &Demand> {
        self.demands.iter()
    }

    /// Every model that is named, each once, the first one named first.
    pub fn models(&self) -> impl Iterator<Item = &Model> {
        self.demands.iter().map(|demand| &demand.model)
    }

    /// The largest `max_tokens` that is named.
    pub fn max_tokens(&self) -> Option<u64> {
        self.asks.iter().filter_map(|ask| ask.max_tokens).filter(|&tokens| tokens < u64::MAX).max()
    }

    /// Names of the tools that the body brings, also on the way of a conversation, each once, in its order, at most 64: the
    /// `name` of one that the client runs, the `type` of one that the API runs, `mcp:` and the `name` of an MCP server. A
    /// name that is not spelled `[A-Za-z0-9_.:-]{1,128}`, the prefix counted, may be content, and is shown as `*`.
    pub fn tools(&self) -> impl Iterator<Item = &str> {
        self.tools.iter().map(AsRef::as_ref)
    }

    /// Names of fields of a message that this version does not know, at most four, spelled like the API's own names. They
    /// pass; this is for ops to see that there is something new.
    pub fn unknown_fields(&self) -> impl Iterator<Item = &str> {
        self.unknown_fields.iter().map(AsRef::as_ref)
    }
}

/// Reads `body`.
///
/// # Errors
/// Says what is wrong, for the caller, when `body` is no UTF-8, no JSON object, nested deeper than 128 levels, has a
/// duplicate key or a key that differs from a known one only by case, has a value of the wrong type, or asks for more
/// different things than are judged in one request.
pub fn peek(body: &[u8], shape: Shape) -> Result<Peek, String> {
    let text = std::str::from_utf8(body).map_err(|_| "the body is not valid UTF-8".to_owned())?;
    let mut reader = Reader::default();
    object::read(text, shape, &mut reader)?;
    let peek = reader.found;
    if peek.messages == 0 && shape == Shape::Batch {
        return Err("requests: is missing".to_owned());
    }
    Ok(peek)
}

#[cfg(test)]
mod tests;
