//! Detectors of data of people.

use super::rule::Rule;

/// The rules for data of people that a literal gives away; most are led by digits and found by hand-written readers.
pub(super) const RULES: &[Rule] = &[];
