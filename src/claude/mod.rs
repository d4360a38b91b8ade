//! The Claude API's wire: endpoints, what a request asks for, what an answer used, and the shape of errors.
//!
//! Everything here is plain Rust on bytes; sources are the API reference and the official SDKs.

mod answer_text;
mod batch_links;
mod endpoint;
mod error;
mod estimate;
mod known;
mod model;
mod model_list;
mod pattern;
mod peek;
mod price;
mod scan;
mod sse;
mod text;
mod tools;
mod usage;

pub use answer_text::AnswerText;
pub use batch_links::relative_results_url;
pub use endpoint::{BodyRule, Endpoint, EndpointGroup, Match, find};
pub use error::{ErrorType, error_body, error_event};
pub use estimate::estimate_input_tokens;
pub use known::{betas, known_beta};
pub use model::{Family, Model, ModelPattern, Specificity};
pub use model_list::{ModelPage, visible_models};
pub use pattern::Pattern;
pub(crate) use pattern::glob;
pub use peek::{Ask, Demand, Features, Peek, Shape, peek};
pub use price::{Price, Prices, Tariff};
pub use scan::TopLevel;
pub use sse::EventReader;
pub use text::{Piece, PromptText, Role, Unreadable, texts};
pub use tools::{MCP_TOOLSET, ServerTool};
pub use usage::{Answer, AnswerReader, CacheCreation, Iteration, OutputDetails, ServerToolUse, Usage};
