//! What a request asks the stand-in to do instead of answering well.
//!
//! Directives come in the header `anthropic-standin` (`cut=3; gap=50; noisy`) or in the model's name
//! (`claude-haiku-5-5-standin-cut-3`, repeatable). The header wins where both name the same thing. A directive that is
//! unknown or out of range is an error, so that a mistyped test cannot pass by accident.

use std::time::Duration;

use http::{HeaderMap, StatusCode};

use super::error::ApiError;

const HEADER: &str = "anthropic-standin";
const MODEL_MARK: &str = "-standin-";
const MAX_PAUSE_MS: u64 = 3_600_000;
const MAX_EVENTS: u64 = 100_000;
const MAX_SIZE_BYTES: u64 = 64 * 1024 * 1024;

/// The directives of one request. The default is a good answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Scenario {
    /// `delay=MS`: pause before the response head.
    pub delay: Option<Duration>,
    /// `status=N`, `html`, `close`, `garbage`.
    pub refusal: Option<Refusal>,
    /// `events=N`: number of text deltas.
    pub text_deltas: Option<usize>,
    /// `gap=MS`: pause between events.
    pub gap: Option<Duration>,
    /// `size=BYTES`: about how much text the answer has.
    pub text_bytes: Option<usize>,
    /// `echo`: the answer's text is the user's last one, whole and alone.
    pub echo: bool,
    /// `echo_cut=N`: the same, in text deltas of N bytes, or of a character more where N would cut it.
    pub echo_cut: Option<usize>,
    /// `cut=N`, `sse_error=N`.
    pub breakage: Option<Breakage>,
    /// `noisy`: an event stream with everything a reader must step over.
    pub noisy: bool,
    /// `iterations`: usage with a compaction entry, whose tokens the top-level counters leave out.
    pub iterations: bool,
}

/// An answer without a message in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The API's error for this status.
    Status(StatusCode),
    /// A load balancer's 502 page.
    Html,
    /// The connection is closed without a byte of response.
    Close,
    /// Bytes that are no HTTP.
    Garbage,
}

/// How a message that began well ends badly, after this many events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Breakage {
    /// The transfer is aborted. Plain JSON is cut in the middle, whatever the count.
    Cut(usize),
    /// An `error` event, then a clean end.
    SseError(usize),
}

impl Scenario {
    /// Reads the header; several of them add up.
    pub fn from_headers(headers: &HeaderMap) -> Result<Self, ApiError> {
        let mut scenario = Self::default();
        for value in headers.get_all(HEADER) {
            let text = value.to_str().map_err(|_| ApiError::invalid(format!("{HEADER}: not visible ASCII")))?;
            for directive in text.split(';').map(str::trim).filter(|d| !d.is_empty()) {
                let (name, value) = match directive.split_once('=') {
                    Some((name, value)) => (name.trim(), Some(value.trim())),
                    None => (directive, None),
                };
                scenario.set(name, value)?;
            }
        }
        Ok(scenario)
    }

    /// Reads the part of a model's name that is meant for the stand-in.
    pub fn from_model(model: &str) -> Result<Self, ApiError> {
        let mut scenario = Self::default();
        for directive in model.split(MODEL_MARK).skip(1) {
            match directive.split_once('-') {
                Some((name, value)) => scenario.set(name, Some(value))?,
                None => scenario.set(directive, None)?,
            }
        }
        Ok(scenario)
    }

    /// `self` completed by what only `other` says.
    pub fn or(self, other: Self) -> Self {
        Self {
            delay: self.delay.or(other.delay),
            refusal: self.refusal.or(other.refusal),
            text_deltas: self.text_deltas.or(other.text_deltas),
            gap: self.gap.or(other.gap),
            text_bytes: self.text_bytes.or(other.text_bytes),
            echo: self.echo || other.echo,
            echo_cut: self.echo_cut.or(other.echo_cut),
            breakage: self.breakage.or(other.breakage),
            noisy: self.noisy || other.noisy,
            iterations: self.iterations || other.iterations,
        }
    }

    fn set(&mut self, name: &str, value: Option<&str>) -> Result<(), ApiError> {
        let number = |max| number(name, value, max);
        match name {
            "status" => self.refusal = Some(Refusal::Status(status(value)?)),
            "html" => self.refusal = Some(Refusal::Html),
            "close" => self.refusal = Some(Refusal::Close),
            "garbage" => self.refusal = Some(Refusal::Garbage),
            "delay" => self.delay = Some(Duration::from_millis(number(MAX_PAUSE_MS)?)),
            "gap" => self.gap = Some(Duration::from_millis(number(MAX_PAUSE_MS)?)),
            "events" => self.text_deltas = Some(count(number(MAX_EVENTS)?)),
            "size" => self.text_bytes = Some(count(number(MAX_SIZE_BYTES)?)),
            "echo" => self.echo = true,
            "echo_cut" => {
                self.echo = true;
                self.echo_cut = Some(count(number(MAX_SIZE_BYTES)?.max(1)));
            }
            "cut" => self.breakage = Some(Breakage::Cut(count(number(MAX_EVENTS)?))),
            "sse_error" => self.breakage = Some(Breakage::SseError(count(number(MAX_EVENTS)?))),
            "noisy" => self.noisy = true,
            "iterations" => self.iterations = true,
            _ => {
                let message = format!("{HEADER}: unknown directive {name}");
                return Err(ApiError::invalid(message));
            }
        }
        Ok(())
    }
}

/// The model's name without the part that is meant for the stand-in.
pub fn plain_model(model: &str) -> &str {
    model.split_once(MODEL_MARK).map_or(model, |(plain, _)| plain)
}

fn status(value: Option<&str>) -> Result<StatusCode, ApiError> {
    value
        .and_then(|text| text.parse().ok())
        .filter(|number| (400..600).contains(number))
        .and_then(|number: u16| StatusCode::from_u16(number).ok())
        .ok_or_else(|| ApiError::invalid(format!("{HEADER}: status takes a number of 400 to 599")))
}

fn number(name: &str, value: Option<&str>, max: u64) -> Result<u64, ApiError> {
    value
        .and_then(|text| text.parse().ok())
        .filter(|number| *number <= max)
        .ok_or_else(|| ApiError::invalid(format!("{HEADER}: {name} takes a number up to {max}")))
}

/// The limits above fit any `usize`.
fn count(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn header(value: &'static str) -> Result<Scenario, ApiError> {
        let mut headers = HeaderMap::new();
        headers.insert(HEADER, HeaderValue::from_static(value));
        Scenario::from_headers(&headers)
    }

    #[test]
    fn header_takes_pairs_and_bare_names() {
        let scenario = header("cut=3; gap = 50 ;noisy;").unwrap();
        assert_eq!(scenario.breakage, Some(Breakage::Cut(3)));
        assert_eq!(scenario.gap, Some(Duration::from_millis(50)));
        assert!(scenario.noisy);
        assert_eq!(scenario.refusal, None);
    }

    #[test]
    fn model_names_carry_directives() {
        let overloaded = StatusCode::from_u16(529).unwrap();
        for (model, expected) in [
            ("claude-haiku-5-5", Scenario::default()),
            (
                "claude-haiku-standin-status-529",
                Scenario { refusal: Some(Refusal::Status(overloaded)), ..Scenario::default() },
            ),
            (
                "claude-haiku-standin-sse_error-2-standin-noisy",
                Scenario { breakage: Some(Breakage::SseError(2)), noisy: true, ..Scenario::default() },
            ),
        ] {
            assert_eq!(Scenario::from_model(model).unwrap(), expected, "{model}");
        }
    }

    #[test]
    fn mistyped_directives_are_refused() {
        for value in ["stauts=529", "status=200", "status", "delay=soon", "cut=-1"] {
            assert!(header(value).is_err(), "{value}");
        }
        assert!(Scenario::from_model("claude-standin-nothing-1").is_err());
        assert!(Scenario::from_model("claude-standin-").is_err());
    }

    #[test]
    fn header_wins_over_model() {
        let by_model = Scenario::from_model("claude-x-standin-events-2-standin-size-9").unwrap();
        let scenario = header("events=7").unwrap().or(by_model);
        assert_eq!(scenario.text_deltas, Some(7));
        assert_eq!(scenario.text_bytes, Some(9));
    }

    #[test]
    fn answers_name_the_model_without_the_scenario() {
        assert_eq!(plain_model("claude-a-standin-cut-3"), "claude-a");
        assert_eq!(plain_model("claude-a"), "claude-a");
    }
}
