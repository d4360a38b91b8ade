//! What a limit bounds.

use std::fmt;

/// What a limit bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Measure {
    /// Requests in a window; a batch counts with each of its items.
    Requests,
    /// Input tokens in a window, those of the prompt cache included.
    InputTokens,
    /// Output tokens in a window.
    OutputTokens,
    /// Requests under way.
    Concurrent,
    /// Streams under way.
    ConcurrentStreams,
    /// Cost in a window, in US dollars.
    Cost,
}

impl Measure {
    /// The key of `[[limit]]` that sets it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::InputTokens => "input_tokens",
            Self::OutputTokens => "output_tokens",
            Self::Concurrent => "concurrent",
            Self::ConcurrentStreams => "concurrent_streams",
            Self::Cost => "cost_usd",
        }
    }
}

impl std::str::FromStr for Measure {
    type Err = ();

    fn from_str(name: &str) -> Result<Self, ()> {
        let all = [
            Self::Requests,
            Self::InputTokens,
            Self::OutputTokens,
            Self::Concurrent,
            Self::ConcurrentStreams,
            Self::Cost,
        ];
        all.into_iter().find(|measure| measure.name() == name).ok_or(())
    }
}

/// In words, for callers.
impl fmt::Display for Measure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Requests => "requests",
            Self::InputTokens => "input tokens",
            Self::OutputTokens => "output tokens",
            Self::Concurrent => "requests at one time",
            Self::ConcurrentStreams => "streams at one time",
            Self::Cost => "cost",
        })
    }
}
