//! Patterns over names, in which `*` stands for any text.

use std::str::FromStr;

/// A pattern over names such as beta values and server tools: `context-*`, `web_search`.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(transparent)]
pub struct Pattern(Box<str>);

impl Pattern {
    /// The pattern that covers every name.
    pub fn any() -> Self {
        Self("*".into())
    }

    /// Whether the pattern covers `name`, to the letter: for rules that allow.
    pub fn covers(&self, name: &str) -> bool {
        glob(self.0.as_bytes(), name.as_bytes())
    }

    /// Whether the pattern covers `name` in any letter case: for rules that deny.
    pub fn catches(&self, name: &str) -> bool {
        self.covers(name) || glob(self.0.to_ascii_lowercase().as_bytes(), name.to_ascii_lowercase().as_bytes())
    }

    /// The pattern as written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Pattern {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let spelled = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:*".contains(&byte);
        (!text.is_empty() && text.bytes().all(spelled)).then(|| Self(text.into())).ok_or(())
    }
}

/// Matches `*` against any run of bytes, in time linear in `text` times the number of stars.
pub(crate) fn glob(mut pattern: &[u8], mut text: &[u8]) -> bool {
    let mut retry: Option<(&[u8], &[u8])> = None;
    loop {
        match (pattern.split_first(), text.split_first()) {
            (Some((b'*', rest)), _) => {
                retry = Some((rest, text));
                pattern = rest;
            }
            (Some((p, pattern_rest)), Some((t, text_rest))) if p == t => {
                pattern = pattern_rest;
                text = text_rest;
            }
            (None, None) => return true,
            _ => match retry {
                Some((after_star, [_, later @ ..])) => {
                    retry = Some((after_star, later));
                    pattern = after_star;
                    text = later;
                }
                _ => return false,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_stars_do_not_blow_up() {
        let pattern = "*a".repeat(60);
        assert!(!glob(pattern.as_bytes(), "b".repeat(128).as_bytes()));
        assert!(glob(b"*a*b*", b"xxaxxbxx"));
        assert!(glob(b"*", b""));
    }

    #[test]
    fn a_rule_that_denies_is_not_escaped_by_letter_case() {
        let pattern: Pattern = "mcp-client-*".parse().unwrap();
        assert!(pattern.covers("mcp-client-2025-11-20") && !pattern.covers("MCP-client-2025-11-20"));
        assert!(pattern.catches("MCP-client-2025-11-20") && !pattern.catches("mcp-clien"));
        for bad in ["", "a b", "a,b", "\u{e4}"] {
            assert!(bad.parse::<Pattern>().is_err(), "{bad:?}");
        }
    }
}
