//! What calls cost, from a data file with its date and source in it.

use std::collections::HashMap;
use std::sync::LazyLock;

use serde::Deserialize;

use super::model::{Model, ModelPattern};
use super::usage::{Iteration, Usage};

/// Prices by model.
#[derive(Debug, Clone, Default)]
pub struct Prices {
    /// The day that the prices were read from their source.
    pub date: String,
    /// Where they were read from.
    pub source: String,
    /// Pico-dollars of one web search.
    web_search: u64,
    exact: HashMap<Box<str>, Price>,
    /// In order of precedence.
    patterns: Vec<(ModelPattern, Price)>,
}

/// What one model costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Price {
    standard: Tokens,
    /// In force for a whole call whose input is above 100,000 tokens, the cache's included.
    above_100k: Option<Tokens>,
    /// Thousandths that multiply the price of a batch, of fast mode, of inference in the US.
    batch: u64,
    fast: u64,
    us: u64,
    /// The most that an answer may be.
    pub max_output_tokens: u64,
}

/// Pico-dollars a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Tokens {
    input: u64,
    output: u64,
    cache_write_5m: u64,
    cache_write_1h: u64,
    cache_read: u64,
}

/// What about a call changes its price.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tariff {
    /// A part of a batch.
    pub batch: bool,
    /// Fast mode is, or may be, asked for.
    pub fast: bool,
    /// Inference in the US is, or may be, asked for.
    pub us: bool,
}

impl Prices {
    /// The prices that come with the program (`conf/prices.json`).
    pub fn builtin() -> Self {
        // A test reads the file. Were it damaged nevertheless, no price would be known and cost limits would let nothing by.
        static BUILTIN: LazyLock<Prices> =
            LazyLock::new(|| Prices::parse(include_bytes!("../../conf/prices.json")).unwrap_or_default());
        BUILTIN.clone()
    }

    /// Reads a file of the form of `conf/prices.json`.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub fn parse(json: &[u8]) -> Result<Self, String> {
        Self::default().overridden(json)
    }

    /// These prices with the rows of `json` over them: a row takes the place of the row of its name, and comes before rows
    /// whose pattern covers its model too.
    ///
    /// # Errors
    /// Says what is wrong with `json`.
    pub fn overridden(mut self, json: &[u8]) -> Result<Self, String> {
        let file: File = serde_json::from_slice(json).map_err(|error| format!("is no price file: {error}"))?;
        let mut patterns = Vec::new();
        for (name, row) in file.models {
            let price = row.price().ok_or_else(|| format!("has a row {name} with a number that is no price"))?;
            let pattern: ModelPattern = name.parse().map_err(|()| format!("has a row {name:?}, which is no model"))?;
            if name.contains('*') {
                patterns.push((pattern, price));
            } else {
                self.exact.insert(name.into(), price);
            }
        }
        // A row of the file, pattern or not, is the operator's word, and the longer a pattern the more it says.
        patterns.sort_by_key(|(pattern, _)| std::cmp::Reverse(pattern.as_str().len()));
        patterns.append(&mut self.patterns);
        self.patterns = patterns;
        if let Some(web_search) = file.web_search {
            self.web_search = pico(web_search, 1e9).ok_or("has a web_search that is no price")?;
        }
        (self.date, self.source) = (file.date, file.source);
        Ok(self)
    }

    /// The price of `model`; a row of its name comes before patterns.
    pub fn of(&self, model: &Model) -> Option<&Price> {
        let by_pattern = || self.patterns.iter().find(|(pattern, _)| pattern.catches(model)).map(|(_, price)| price);
        self.exact.get(model.as_str()).or_else(by_pattern)
    }

    /// As [`Prices::of`], of whatever an answer calls a model.
    pub fn of_name(&self, name: &str) -> Option<&Price> {
        self.of(&Model::parse(name)?)
    }

    /// Nano-dollars of a whole answer: its own tokens at `price`, those of other models that took part at theirs (at `price`
    /// if it is unknown), and web searches. What `usage` says of batches, speed and place is applied.
    pub fn cost(&self, usage: &Usage, answered_by: Option<&str>, price: &Price, batch: bool) -> u64 {
        let tariff = Tariff {
            batch: batch || usage.service_tier.as_deref() == Some("batch"),
            fast: usage.speed.as_deref() == Some("fast"),
            us: usage.inference_geo.as_deref() == Some("us"),
        };
        let own = price.pico(&Counts::of(usage), tariff);
        let others = usage.separate_iterations(answered_by).map(|part| {
            let price = part.model.as_deref().and_then(|model| self.of_name(model)).unwrap_or(price);
            price.pico(&Counts::of_iteration(part), tariff)
        });
        let searches = usage.server_tool_use.as_ref().and_then(|tools| tools.web_search_requests).unwrap_or_default();
        nano(others.fold(own, u128::saturating_add).saturating_add(u128::from(searches) * u128::from(self.web_search)))
    }
}

impl Price {
    /// Nano-dollars that `input` tokens and at most `output` tokens cost at the most: input as if it were all written to the
    /// prompt cache at the dearest. `calls` is how many calls share the input.
    pub fn ceiling(&self, input: u64, output: u64, calls: u64, tariff: Tariff) -> u64 {
        let tokens = self.tokens(input / calls.max(1));
        let dearest = tokens.input.max(tokens.cache_write_5m).max(tokens.cache_write_1h);
        let plain = u128::from(input) * u128::from(dearest) + u128::from(output) * u128::from(tokens.output);
        nano(self.multiplied(plain, tariff))
    }

    fn tokens(&self, input: u64) -> &Tokens {
        self.above_100k.as_ref().filter(|_| input > 100_000).unwrap_or(&self.standard)
    }

    fn pico(&self, counts: &Counts, tariff: Tariff) -> u128 {
        let all_input = counts
            .input
            .saturating_add(counts.cache_write_5m)
            .saturating_add(counts.cache_write_1h)
            .saturating_add(counts.cache_read);
        let tokens = self.tokens(all_input);
        let plain = [
            (counts.input, tokens.input),
            (counts.output, tokens.output),
            (counts.cache_write_5m, tokens.cache_write_5m),
            (counts.cache_write_1h, tokens.cache_write_1h),
            (counts.cache_read, tokens.cache_read),
        ]
        .iter()
        .fold(0_u128, |sum, &(count, price)| sum.saturating_add(u128::from(count) * u128::from(price)));
        self.multiplied(plain, tariff)
    }

    fn multiplied(&self, mut pico: u128, tariff: Tariff) -> u128 {
        for (applies, thousandths) in [(tariff.batch, self.batch), (tariff.fast, self.fast), (tariff.us, self.us)] {
            if applies {
                pico = pico.saturating_mul(u128::from(thousandths)).div_ceil(1_000);
            }
        }
        pico
    }
}

impl Usage {
    /// All input tokens: those of the prompt cache and of the parts that the counts above leave out included.
    pub fn all_input_tokens(&self, answered_by: Option<&str>) -> u64 {
        let own = [self.input_tokens, self.cache_creation_input_tokens, self.cache_read_input_tokens];
        let others = self
            .separate_iterations(answered_by)
            .flat_map(|part| [part.input_tokens, part.cache_creation_input_tokens, part.cache_read_input_tokens]);
        own.into_iter().chain(others).flatten().fold(0, u64::saturating_add)
    }

    /// All output tokens: those of the parts that the counts above leave out included.
    pub fn all_output_tokens(&self, answered_by: Option<&str>) -> u64 {
        let others = self.separate_iterations(answered_by).map(|part| part.output_tokens);
        std::iter::once(self.output_tokens).chain(others).flatten().fold(0, u64::saturating_add)
    }

    /// The iterations whose tokens are not in the usage's own counts: compactions and advisors, other models, and kinds
    /// that do not exist yet.
    fn separate_iterations<'u>(&'u self, answered_by: Option<&'u str>) -> impl Iterator<Item = &'u Iteration> {
        self.iterations.iter().flatten().filter(move |part| {
            let is_answer = matches!(part.kind.as_deref(), None | Some("message" | "fallback_message"));
            let is_other_model = part.model.is_some() && answered_by.is_some() && part.model.as_deref() != answered_by;
            !is_answer || is_other_model
        })
    }
}

/// Tokens by price.
struct Counts {
    input: u64,
    output: u64,
    cache_write_5m: u64,
    cache_write_1h: u64,
    cache_read: u64,
}

impl Counts {
    fn of(usage: &Usage) -> Self {
        let split = usage.cache_creation.as_ref();
        let one_hour = split.and_then(|split| split.ephemeral_1h_input_tokens).unwrap_or_default();
        let five_minutes = split.and_then(|split| split.ephemeral_5m_input_tokens).unwrap_or_default();
        // The split is reported once, at the start of a stream, and may lag behind the total: the rest was not asked to last.
        let rest = usage.cache_creation_input_tokens.unwrap_or_default().saturating_sub(one_hour);
        Self {
            input: usage.input_tokens.unwrap_or_default(),
            output: usage.output_tokens.unwrap_or_default(),
            cache_write_5m: rest.max(five_minutes),
            cache_write_1h: one_hour,
            cache_read: usage.cache_read_input_tokens.unwrap_or_default(),
        }
    }

    fn of_iteration(part: &Iteration) -> Self {
        Self {
            input: part.input_tokens.unwrap_or_default(),
            output: part.output_tokens.unwrap_or_default(),
            cache_write_5m: part.cache_creation_input_tokens.unwrap_or_default(),
            cache_write_1h: 0,
            cache_read: part.cache_read_input_tokens.unwrap_or_default(),
        }
    }
}

/// Nano-dollars, rounded up: money is not lost to rounding.
fn nano(pico: u128) -> u64 {
    u64::try_from(pico.div_ceil(1_000)).unwrap_or(u64::MAX)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    date: String,
    source: String,
    #[serde(rename = "unit")]
    _unit: Option<String>,
    web_search: Option<f64>,
    models: HashMap<String, Row>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    input: f64,
    output: f64,
    cache_write_5m: f64,
    cache_write_1h: f64,
    cache_read: f64,
    above_100k: Option<TokensRow>,
    batch: Option<f64>,
    fast: Option<f64>,
    us: Option<f64>,
    max_output_tokens: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TokensRow {
    input: f64,
    output: f64,
    cache_write_5m: f64,
    cache_write_1h: f64,
    cache_read: f64,
}

impl Row {
    fn price(&self) -> Option<Price> {
        let standard = TokensRow {
            input: self.input,
            output: self.output,
            cache_write_5m: self.cache_write_5m,
            cache_write_1h: self.cache_write_1h,
            cache_read: self.cache_read,
        };
        let above_100k = match &self.above_100k {
            Some(row) => Some(row.tokens()?),
            None => None,
        };
        let times = |factor: Option<f64>| pico(factor.unwrap_or(1.0), 1e3);
        Some(Price {
            standard: standard.tokens()?,
            above_100k,
            batch: times(self.batch)?,
            fast: times(self.fast)?,
            us: times(self.us)?,
            max_output_tokens: self.max_output_tokens,
        })
    }
}

impl TokensRow {
    fn tokens(&self) -> Option<Tokens> {
        let price = |dollars_per_million| pico(dollars_per_million, 1e6);
        Some(Tokens {
            input: price(self.input)?,
            output: price(self.output)?,
            cache_write_5m: price(self.cache_write_5m)?,
            cache_write_1h: price(self.cache_write_1h)?,
            cache_read: price(self.cache_read)?,
        })
    }
}

/// `number` in units of 1/`parts`, rounded: a dollar for a million tokens is a million pico-dollars for one.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // within the bounds that are checked
fn pico(number: f64, parts: f64) -> Option<u64> {
    (0.0..=1e6).contains(&number).then(|| (number * parts).round() as u64)
}

#[cfg(test)]
mod tests;
