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
}

/// What is done about what a request says.
#[derive(Debug, Default)]
pub struct PromptRule {
    /// Whether it is looked at, and may be stopped.
    pub prompts: Prompts,
    /// The kinds that stop a request; others are counted.
    pub block: BTreeSet<Kind>,
}

impl PromptRule {
    /// Which of these findings stops a request, if one does.
    pub fn blocked_by(&self, findings: &Findings) -> Option<Kind> {
        let blocks = |kind: &Kind| self.prompts == Prompts::Block && self.block.contains(kind);
        findings.keys().copied().find(blocks)
    }
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
