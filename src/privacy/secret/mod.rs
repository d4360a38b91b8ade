//! Detectors of what opens something: keys, tokens, passwords.

use super::rule::Rule;

/// Every rule for a secret.
pub(super) const RULES: &[Rule] = &[];
