//! What is done about a request whose texts have personal data or secrets in them.

use std::collections::BTreeSet;
use std::str::FromStr;
use std::sync::Arc;

use super::{Findings, Kind, Masker, TagKey};

/// The detectors and the rule for prompts, as the configuration has them.
pub struct Privacy {
    masker: Arc<Masker>,
    prompts: PromptRule,
}

impl Privacy {
    /// Puts both together.
    pub fn new(masker: Masker, prompts: PromptRule) -> Self {
        Self { masker: Arc::new(masker), prompts }
    }

    /// The detectors.
    pub fn masker(&self) -> Arc<Masker> {
        Arc::clone(&self.masker)
    }

    /// The key of the tags; keys for other purposes are made from it by [`TagKey::derive`].
    pub fn tag_key(&self) -> &TagKey {
        self.masker.tag_key()
    }

    /// What is done about what a request says.
    pub fn prompt_rule(&self) -> &PromptRule {
        &self.prompts
    }

    /// Looks at the texts of a request; `None` when prompts are not looked at.
    pub fn judge<'t>(&self, texts: impl IntoIterator<Item = &'t str>) -> Option<Judged> {
        if self.prompts.prompts == Prompts::Off {
            return None;
        }
        let mut judged = Judged::default();
        for text in texts {
            for span in self.masker.scan(text) {
                *judged.findings.entry(span.kind).or_default() += 1;
            }
        }
        let blocks = |kind: &Kind| self.prompts.prompts == Prompts::Block && self.prompts.block.contains(kind);
        judged.blocked_by = judged.findings.keys().copied().find(blocks);
        Some(judged)
    }
}

/// What is done about what a request says.
#[derive(Debug, Default)]
pub struct PromptRule {
    /// Whether it is looked at, and may be stopped.
    pub prompts: Prompts,
    /// The kinds that stop a request; others are counted.
    pub block: BTreeSet<Kind>,
}

/// Whether requests are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Prompts {
    /// They are not.
    #[default]
    Off,
    /// What is found is counted in the record and in metrics.
    Flag,
    /// The same, and the kinds that the rule names stop the request.
    Block,
}

impl FromStr for Prompts {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "off" => Ok(Self::Off),
            "flag" => Ok(Self::Flag),
            "block" => Ok(Self::Block),
            _ => Err(()),
        }
    }
}

/// What was found in a request.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Judged {
    /// How often each kind is there.
    pub findings: Findings,
    /// The kind that stops the request.
    pub blocked_by: Option<Kind>,
}
