//! The texts of a request's body: every piece that a model or a person could read, in place and decoded.
//!
//! Source: the request types of the official Python SDK 2.12.0. Where a body says something that those types do not know, it
//! is told as text: what is left out is listed, what is told is not.

mod walk;

use super::peek::Shape;

/// One text of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece<'t> {
    /// The text, with JSON's escapes resolved. It may be empty.
    pub text: &'t str,
    /// What the text is to the model.
    pub role: Role,
    /// The text goes on from the last piece of the same role: both are of one turn, of one system prompt or of one result,
    /// and a model reads them as one. Pieces of other roles may stand between the two.
    pub joins: bool,
}

/// What a text is to the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// A turn's own words: its text, its thinking, documents that it holds as text.
    Prompt,
    /// The system prompt.
    System,
    /// A tool or an MCP server: names, descriptions, schemas with their keys.
    ToolDefinition,
    /// The content of a block that has content of its own: results of tools and of searches, compactions.
    ToolResult,
    /// Everything else: input of tools with its keys, titles, metadata, ids, settings, fields that are not known.
    Other,
}

/// Why a body's texts cannot be read. Such a body must be refused where its texts are judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// Deeper than 128 levels.
    #[error("the body is nested too deeply")]
    TooDeep,
    /// No UTF-8, no JSON, or an escape that stands for no character, such as half a surrogate pair; the API refuses these too.
    #[error("the body has text that is not valid")]
    Invalid,
}

/// Calls `on_text` with every text of `body`, which [`peek`](super::peek()) has accepted as one of `shape`.
///
/// Texts are all strings of the body, and the keys and the whole numbers of seven digits and more in objects whose form the
/// client chooses (input, schemas, metadata, fields that are not known). No texts are:
///
/// 1. the API's own keys, and a `type` or `role` that is spelled like the API's own words;
/// 2. what the API alone can read, as far as it is base64 and of a block of the type that has it: `data` of a base64 source and
///    of `redacted_thinking`, `signature` of `thinking`, `encrypted_content`, `encrypted_stdout` and `encrypted_index`;
/// 3. `authorization_token` of an MCP server, which goes to that server and to no model.
///
/// The order is the body's, but for two things: a message's system prompt comes before its turns, as the model reads them, and
/// what might be of the second kind comes at the end of its object, for its type may stand behind it. The time is linear in
/// the body; the memory is one decoded string and a stack of at most a few hundred frames.
///
/// # Errors
/// When the body cannot be read to its end; pieces may have been told before.
pub fn texts(body: &[u8], shape: Shape, mut on_text: impl FnMut(Piece<'_>)) -> Result<(), Unreadable> {
    let body = std::str::from_utf8(body).map_err(|_| Unreadable::Invalid)?;
    walk::read(body, shape, &mut on_text)
}

/// Makes the prompt's text of a body's pieces, without a copy of the whole: what the keyed hash and the masked content of a
/// record are made of.
///
/// The prompt's text is that of the pieces whose role is `System`, `Prompt` or `ToolResult`, in the order of [`texts`]. A
/// piece that joins the one before it follows at once, so that a text cut into blocks reads as the whole one does; between
/// any other two stands one line feed. Tools, their input, titles and metadata are no part of it.
#[derive(Debug, Default)]
pub struct PromptText {
    last: Option<Role>,
}

impl PromptText {
    /// Takes the next piece and calls `on_part` with what it adds to the text; whether it is a part of it.
    pub fn take(&mut self, piece: Piece<'_>, mut on_part: impl FnMut(&str)) -> bool {
        match piece.role {
            Role::System | Role::Prompt | Role::ToolResult => {
                let last = self.last.replace(piece.role);
                if last.is_some_and(|last| !piece.joins || last != piece.role) {
                    on_part("\n");
                }
                on_part(piece.text);
                true
            }
            Role::ToolDefinition | Role::Other => false,
        }
    }
}

#[cfg(test)]
mod tests;
