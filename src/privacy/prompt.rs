//! What is done about a request whose texts have personal data or secrets in them.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use super::{Findings, Kind, Masker, TagKey};
use crate::credential;

/// The detectors and the rule for prompts, as the configuration has them.
pub struct Privacy {
    masker: Arc<Masker>,
    prompts: PromptRule,
    /// Where the host's own key is to be kept, if it is not there yet.
    unkept: Option<PathBuf>,
}

impl Privacy {
    /// Puts both together. `unkept` is where the host's own key is to be kept, when the masker's is one for the moment.
    pub fn new(masker: Masker, prompts: PromptRule, unkept: Option<PathBuf>) -> Self {
        Self { masker: Arc::new(masker), prompts, unkept }
    }

    /// Makes the host's own key and keeps it, if that is still to be done. Blocks.
    ///
    /// # Errors
    /// When the file cannot be made.
    pub fn keep_key(self) -> std::io::Result<Self> {
        let Some(path) = self.unkept else { return Ok(self) };
        let secret = credential::read_or_make(&path, TagKey::random_bytes)?;
        let masker = Arc::into_inner(self.masker).ok_or_else(|| std::io::Error::other("the detectors are in use"))?;
        let masker = masker.with_key(TagKey::new(&secret));
        Ok(Self { masker: Arc::new(masker), prompts: self.prompts, unkept: None })
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
