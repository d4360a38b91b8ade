//! Demands: what one message asks of one model, and how the demands of a whole body are gathered in bounded memory.

use std::collections::HashMap;
use std::hash::BuildHasher;

use smallvec::SmallVec;

use super::Peek;
use crate::claude::known::known_field;
use crate::claude::model::Model;
use crate::claude::tools::ServerTool;

/// One distinct demand of a body.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ask {
    /// The model that is to answer, or that a tool calls.
    pub model: Option<Model>,
    /// The ceiling of the answer. Without one the API refuses the message, or the endpoint answers none; a model that a tool
    /// calls without one may answer all that it can, which is the largest number.
    pub max_tokens: Option<u64>,
    /// The most tokens that may go into thinking: none when the body switches it off, else the budget that it names, else
    /// all of `max_tokens`, for the model decides then; without any ceiling the largest number.
    pub max_thinking: u64,
    /// What it uses beside the model.
    pub features: Features,
    /// How many times the body makes this demand, or one that this one contains.
    pub count: u64,
}

/// Parts of the API that a message uses and that a grant opens by name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Features {
    /// Tools that the API runs, sorted, each once.
    pub server_tools: SmallVec<[ServerTool; 1]>,
    /// The API calls out to MCP servers that the body names.
    pub mcp_servers: bool,
    /// Content from the Files API.
    pub files: bool,
    /// Skills in a container.
    pub skills: bool,
    /// Where inference is to run.
    pub inference_geo: Option<Box<str>>,
}

/// What a body asks of one model, in sum. A message that names several models, as fallbacks or by tools, counts for each:
/// over several models the calls are the lesser of their sum and [`Peek::messages`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Demand {
    /// The model.
    pub model: Model,
    /// Messages that may call the model.
    pub calls: u64,
    /// The sum of their `max_tokens`.
    pub output_tokens: u64,
    /// How many of them have no `max_tokens`.
    pub calls_without_max_tokens: u64,
}

/// The `thinking` of a message.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Thinking {
    /// The model decides, up to `max_tokens`: `adaptive`, `between_tools`, no word of it (newer models think then), and
    /// whatever this version does not know.
    #[default]
    Open,
    /// `enabled` with `budget_tokens`.
    Budget(u64),
    /// `disabled`
    Off,
}

/// A message as far as it has been read.
#[derive(Debug, Default)]
pub(super) struct Draft {
    pub(super) model: Option<Model>,
    pub(super) max_tokens: Option<u64>,
    pub(super) thinking: Option<Thinking>,
    pub(super) features: Features,
    /// Models that tools call, with the tool's own ceiling.
    pub(super) advisors: SmallVec<[(Model, Option<u64>); 0]>,
    /// Models that answer when the first one does not.
    pub(super) fallbacks: Vec<Draft>,
}

/// What has been read so far.
#[derive(Default)]
pub(super) struct Reader {
    pub(super) found: Peek,
    /// The message that is being read.
    pub(super) draft: Draft,
    /// Where in `found.asks` those of a model and its features are, once a walk over all would take long.
    index: HashMap<u64, SmallVec<[usize; 2]>>,
}

/// More different models than a batch has use for.
const MAX_MODELS: usize = 64;
/// More different demands than a batch has use for.
const MAX_ASKS: usize = 1024;
/// More different pairs of ceilings, none of which contains another, than one model and its features have use for: each is
/// looked at for every item that follows.
const MAX_CEILINGS: usize = 64;
/// From how many demands on they are found by their hash.
const INDEXED: usize = 8;
/// More fallbacks, and models that tools call, than the API takes.
const MAX_BESIDE: usize = 64;
/// More server tools than the API has.
const MAX_TOOLS: usize = 32;
const MAX_UNKNOWN: usize = 4;
/// What a record has room for.
const MAX_TOOL_NAMES: usize = 64;
const MAX_TOOL_NAME: usize = 128;
const TOO_MANY: &str = "the body asks for too many different things at once";

impl Reader {
    /// Ends the message that was being read: each model that it names has its demand.
    ///
    /// # Errors
    /// Says what there is too much of.
    pub(super) fn settle(&mut self, message: Draft) -> Result<(), &'static str> {
        let Draft { model, max_tokens, thinking, mut features, advisors, fallbacks } = message;
        features.server_tools.sort_unstable();
        self.found.messages += 1;
        if advisors.is_empty() && fallbacks.is_empty() {
            return self.call(model, max_tokens, thinking.unwrap_or_default(), features);
        }
        self.call(model, max_tokens, thinking.unwrap_or_default(), features.clone())?;
        for (advisor, ceiling) in advisors {
            self.advise(advisor, ceiling, &features)?;
        }
        for fallback in fallbacks {
            // What a fallback does not say for itself it takes from the message. A budget is not taken over by a model
            // that knows no budgets, so only its own word bounds its thinking.
            let mut features = features.clone();
            features.take(fallback.features);
            let max_tokens = fallback.max_tokens.or(max_tokens);
            for (advisor, ceiling) in fallback.advisors {
                self.advise(advisor, ceiling, &features)?;
            }
            self.call(fallback.model, max_tokens, fallback.thinking.unwrap_or_default(), features)?;
        }
        Ok(())
    }

    /// Takes note of a model that is named without a message.
    pub(super) fn name(&mut self, model: Model) -> Result<(), &'static str> {
        self.demand(&model)?;
        self.add(Ask { model: Some(model), count: 1, ..Ask::default() })
    }

    /// Takes note of a field of a message whose name is not known. What is not spelled like the API's names may be
    /// content, and is left out.
    pub(super) fn unknown_field(&mut self, name: &str) {
        let unknown = &mut self.found.unknown_fields;
        if unknown.len() < MAX_UNKNOWN
            && is_api_name(name)
            && !known_field(name)
            && !unknown.iter().any(|seen| seen.as_ref() == name)
        {
            unknown.push(name.into());
        }
    }

    /// Takes note of a tool by its name. A name that is not spelled like one may be content, and is shown as `*`.
    pub(super) fn tool(&mut self, prefix: &str, name: &str) {
        let tools = &mut self.found.tools;
        let spelled = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b':' | b'-');
        let fits = !name.is_empty() && prefix.len() + name.len() <= MAX_TOOL_NAME && name.bytes().all(spelled);
        let name = if fits { name } else { "*" };
        let is_new = !tools.iter().any(|seen| seen.strip_prefix(prefix) == Some(name));
        if tools.len() < MAX_TOOL_NAMES && is_new {
            tools.push([prefix, name].concat().into());
        }
    }

    fn call(
        &mut self,
        model: Option<Model>,
        max_tokens: Option<u64>,
        thinking: Thinking,
        features: Features,
    ) -> Result<(), &'static str> {
        if let Some(model) = &model {
            self.count(model, max_tokens)?;
        }
        let max_thinking = match thinking {
            Thinking::Off => 0,
            Thinking::Budget(tokens) => tokens,
            Thinking::Open => max_tokens.unwrap_or(u64::MAX),
        };
        self.add(Ask { model, max_tokens, max_thinking, features, count: 1 })
    }

    /// A tool's call of a model. The message's `max_tokens` does not bound it: without one of the tool's own, the model's
    /// does (the Python SDK on `BetaAdvisorTool20260301Param`).
    fn advise(&mut self, advisor: Model, ceiling: Option<u64>, message: &Features) -> Result<(), &'static str> {
        self.count(&advisor, ceiling)?;
        let most = ceiling.unwrap_or(u64::MAX);
        let model = Some(advisor);
        self.add(Ask { model, max_tokens: Some(most), max_thinking: most, features: message.beside(), count: 1 })
    }

    fn count(&mut self, model: &Model, max_tokens: Option<u64>) -> Result<(), &'static str> {
        let demand = self.demand(model)?;
        demand.calls += 1;
        demand.output_tokens = demand.output_tokens.saturating_add(max_tokens.unwrap_or_default());
        demand.calls_without_max_tokens += u64::from(max_tokens.is_none());
        Ok(())
    }

    fn demand(&mut self, model: &Model) -> Result<&mut Demand, &'static str> {
        let demands = &mut self.found.demands;
        let at = match demands.iter().position(|demand| demand.model == *model) {
            Some(at) => at,
            None if demands.len() == MAX_MODELS => return Err("model: too many different ones in one request"),
            None => {
                let model = model.clone();
                demands.push(Demand { model, calls: 0, output_tokens: 0, calls_without_max_tokens: 0 });
                demands.len() - 1
            }
        };
        demands.get_mut(at).ok_or("model: cannot be counted")
    }

    /// Takes in a demand, unless one that is there contains it.
    fn add(&mut self, ask: Ask) -> Result<(), &'static str> {
        let asks = &mut self.found.asks;
        if asks.len() < INDEXED {
            if asks.iter_mut().any(|there| there.merge(&ask)) {
                return Ok(());
            }
        } else {
            if self.index.is_empty() {
                for (at, there) in asks.iter().enumerate() {
                    let hash = self.index.hasher().hash_one((&there.model, &there.features));
                    self.index.entry(hash).or_default().push(at);
                }
            }
            let hash = self.index.hasher().hash_one((&ask.model, &ask.features));
            let alike = self.index.entry(hash).or_default();
            for &at in alike.iter() {
                if asks.get_mut(at).is_some_and(|there| there.merge(&ask)) {
                    return Ok(());
                }
            }
            if alike.len() == MAX_CEILINGS {
                return Err(TOO_MANY);
            }
            alike.push(asks.len());
        }
        if asks.len() == MAX_ASKS {
            return Err(TOO_MANY);
        }
        asks.push(ask);
        Ok(())
    }
}

impl Draft {
    /// Takes note of a server tool.
    pub(super) fn uses(&mut self, tool: ServerTool) -> Result<(), &'static str> {
        let tools = &mut self.features.server_tools;
        if tools.contains(&tool) {
            return Ok(());
        }
        if tools.len() == MAX_TOOLS {
            return Err("tools: too many different ones that the API runs");
        }
        tools.push(tool);
        Ok(())
    }

    /// Takes note of a model that a tool calls.
    pub(super) fn advised_by(&mut self, model: Model, ceiling: Option<u64>) -> Result<(), &'static str> {
        let advisor = (model, ceiling);
        if self.advisors.contains(&advisor) {
            return Ok(());
        }
        if self.advisors.len() == MAX_BESIDE {
            return Err("tools: too many that name a model");
        }
        self.advisors.push(advisor);
        Ok(())
    }

    /// Takes note of a fallback.
    pub(super) fn falls_back_to(&mut self, fallback: Draft) -> Result<(), &'static str> {
        if self.fallbacks.len() == MAX_BESIDE {
            return Err("fallbacks: too many");
        }
        self.fallbacks.push(fallback);
        Ok(())
    }
}

impl Features {
    /// Adds what `other` uses, whose word on the region stands over this one's.
    fn take(&mut self, other: Self) {
        for tool in other.server_tools {
            if !self.server_tools.contains(&tool) {
                self.server_tools.push(tool);
            }
        }
        self.server_tools.sort_unstable();
        self.mcp_servers |= other.mcp_servers;
        self.files |= other.files;
        self.skills |= other.skills;
        self.inference_geo = other.inference_geo.or(self.inference_geo.take());
    }

    /// What a model that a tool calls has of it: it runs in the same region, and nothing else is its own.
    fn beside(&self) -> Self {
        Self { inference_geo: self.inference_geo.clone(), ..Self::default() }
    }
}

impl Ask {
    /// Makes this demand contain `other` as well, if one of the two contains the other already.
    fn merge(&mut self, other: &Self) -> bool {
        if self.model != other.model || self.features != other.features {
            return false;
        }
        let contains = |a: &Self, b: &Self| a.max_tokens >= b.max_tokens && a.max_thinking >= b.max_thinking;
        if contains(other, self) {
            (self.max_tokens, self.max_thinking) = (other.max_tokens, other.max_thinking);
        } else if !contains(self, other) {
            return false;
        }
        self.count += other.count;
        true
    }
}

/// Whether `name` is spelled like a field of the API.
pub(super) fn is_api_name(name: &str) -> bool {
    let spelled = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    name.len() <= 40 && name.bytes().all(spelled)
}
