//! Model names: checked text, families, and the patterns that grants name them by.

use std::fmt;
use std::str::FromStr;

use super::pattern::glob;

/// A model's name as a request or an answer gives it: ASCII letters, digits and `-._:@/`, at most 128 bytes.
///
/// Other bytes are refused rather than folded, so that no two spellings that the upstream might read as one model are
/// judged as two.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Model(Box<str>);

impl Model {
    /// Takes `name` if it is spelled like a model's name.
    pub fn parse(name: &str) -> Option<Self> {
        let spelled = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-._:@/".contains(&byte);
        (!name.is_empty() && name.len() <= 128 && name.bytes().all(spelled)).then(|| Self(name.into()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The family, for labels and defaults.
    pub fn family(&self) -> Family {
        Family::of(self.as_str())
    }
}

impl fmt::Display for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A line of models. New releases of a line keep its word in their name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// `claude-haiku-*`, `claude-3-5-haiku-*`
    Haiku,
    /// `claude-sonnet-*`
    Sonnet,
    /// `claude-opus-*`
    Opus,
    /// `claude-fable-*`
    Fable,
    /// `claude-mythos-*`
    Mythos,
    /// A name that holds no known line's word.
    Other,
}

impl Family {
    /// All of them, in order.
    pub const ALL: [Self; 6] = [Self::Haiku, Self::Sonnet, Self::Opus, Self::Fable, Self::Mythos, Self::Other];

    /// The family of the model called `name`: that of the first segment between hyphens that is a known word.
    pub fn of(name: &str) -> Self {
        name.split('-')
            .find_map(|segment| match segment {
                "haiku" => Some(Self::Haiku),
                "sonnet" => Some(Self::Sonnet),
                "opus" => Some(Self::Opus),
                "fable" => Some(Self::Fable),
                "mythos" => Some(Self::Mythos),
                _ => None,
            })
            .unwrap_or(Self::Other)
    }

    /// The family with this [`Family::label`].
    pub fn labelled(label: &str) -> Option<Self> {
        let all = [Self::Haiku, Self::Sonnet, Self::Opus, Self::Fable, Self::Mythos, Self::Other];
        all.into_iter().find(|family| family.label() == label)
    }

    /// The word, as metrics label it.
    pub fn label(self) -> &'static str {
        match self {
            Self::Haiku => "haiku",
            Self::Sonnet => "sonnet",
            Self::Opus => "opus",
            Self::Fable => "fable",
            Self::Mythos => "mythos",
            Self::Other => "other",
        }
    }
}

/// A pattern over model names in which `*` stands for any text, such as `claude-opus-*`.
///
/// A model of an unknown family matches only a pattern that names it: the literal text before the first `*` must reach
/// into the name's family word. So `claude-*` covers every known family and no line that comes out tomorrow.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(transparent)]
pub struct ModelPattern(Box<str>);

impl ModelPattern {
    /// Whether the pattern covers `model`.
    pub fn matches(&self, model: &Model) -> bool {
        self.catches(model) && (model.family() != Family::Other || self.names(model.as_str()))
    }

    /// Whether the literal start of the pattern goes beyond the `claude-` and the version numbers that names begin with.
    fn names(&self, model: &str) -> bool {
        let literal = self.0.split('*').next().unwrap_or_default();
        let common: usize = model
            .split_inclusive('-')
            .take_while(|segment| {
                matches!(segment.trim_end_matches('-'), "claude" | "anthropic")
                    || segment.starts_with(|c: char| c.is_ascii_digit())
            })
            .map(str::len)
            .sum();
        literal.len() > common
    }

    /// Whether the pattern's text covers the model's, of whatever family: for rules that deny or bound, which a new name must
    /// not escape.
    pub fn catches(&self, model: &Model) -> bool {
        glob(self.0.as_bytes(), model.as_str().as_bytes())
    }

    /// How closely the pattern names its models.
    pub fn specificity(&self) -> Specificity {
        let prefix = self.0.split('*').next().map_or(0, str::len);
        let stars = self.0.bytes().filter(|&byte| byte == b'*').count();
        Specificity { exact: stars == 0, prefix, literals: self.0.len() - stars }
    }

    /// The pattern as written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// How closely a pattern names its models: a name without `*` before any other, then the more text before the first `*`,
/// then the more text in all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Specificity {
    exact: bool,
    prefix: usize,
    literals: usize,
}

impl FromStr for ModelPattern {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let literal = text.replace('*', "");
        (literal.is_empty() && !text.is_empty() || Model::parse(&literal).is_some())
            .then(|| Self(text.into()))
            .ok_or(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, model: &str) -> bool {
        pattern.parse::<ModelPattern>().unwrap().matches(&Model::parse(model).unwrap())
    }

    #[test]
    fn patterns_cover_releases_of_a_family_that_do_not_exist_yet() {
        assert!(matches("claude-opus-*", "claude-opus-9-20291231"));
        assert!(matches("claude-*-haiku-*", "claude-3-5-haiku-20241022"));
        assert!(matches("claude-sonnet-5", "claude-sonnet-5"));
        assert!(!matches("claude-opus-*", "claude-sonnet-5"));
        assert!(!matches("claude-opus-*", "x-claude-opus-5"));
        assert!(!matches("claude-sonnet-5", "claude-sonnet-5-5"));
    }

    #[test]
    fn an_unknown_family_matches_only_a_pattern_that_names_it() {
        for wide in ["*", "claude-*", "cl*", "claude-4-*"] {
            assert!(!matches(wide, "claude-4-zeus-1"), "{wide}");
        }
        assert!(matches("claude-4-zeus-*", "claude-4-zeus-1"));
        assert!(matches("claude-zeus-*", "claude-zeus-1"));
        assert!(matches("*", "claude-opus-5"));
        assert!(!matches("*", "gpt-5"));
        assert!(matches("gpt-*", "gpt-5"));
    }

    #[test]
    fn the_closer_pattern_is_the_more_specific() {
        let order = ["*", "*-haiku-*", "claude-*", "claude-*-5", "claude-opus-*", "claude-opus-*-x", "claude-opus-5"];
        let specificity = |pattern: &str| pattern.parse::<ModelPattern>().unwrap().specificity();
        for pair in order.windows(2) {
            assert!(specificity(pair[0]) < specificity(pair[1]), "{pair:?}");
        }
    }

    #[test]
    fn a_rule_that_denies_catches_unknown_families_too() {
        let any: ModelPattern = "claude-*".parse().unwrap();
        let zeus = Model::parse("claude-zeus-1").unwrap();
        assert!(any.catches(&zeus) && !any.matches(&zeus));
    }

    #[test]
    fn names_with_other_spellings_are_no_models() {
        for bad in ["", "Claude-Opus-5", "claude-opus-5 ", "claude\u{2011}opus", "claude-opus-5\0", &"a".repeat(129)] {
            assert_eq!(Model::parse(bad), None, "{bad:?}");
        }
    }
}
