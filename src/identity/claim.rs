//! Where in a token a value stands, and which claims an issuer's tokens must have.

use std::str::FromStr;

use serde_json::{Map, Value};

/// The place of a claim: its name, or a JSON pointer to one that is nested (RFC 6901).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimPath(Vec<String>);

/// Not a claim's name and not a JSON pointer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("neither a claim's name nor a JSON pointer")]
pub struct ClaimPathError;

impl FromStr for ClaimPath {
    type Err = ClaimPathError;

    /// What starts with a slash is a pointer. Names with slashes further on are names, as in `https://example.com/roles`.
    fn from_str(text: &str) -> Result<Self, ClaimPathError> {
        let Some(pointer) = text.strip_prefix('/') else {
            return if text.is_empty() { Err(ClaimPathError) } else { Ok(Self(vec![text.to_owned()])) };
        };
        // RFC 6901 section 3: a tilde is escaped as ~0, a slash as ~1.
        if pointer.split('~').skip(1).any(|after| !after.starts_with(['0', '1'])) {
            return Err(ClaimPathError);
        }
        Ok(Self(pointer.split('/').map(|token| token.replace("~1", "/").replace("~0", "~")).collect()))
    }
}

impl ClaimPath {
    /// The value at this place; a null is none.
    pub fn find<'c>(&self, claims: &'c Map<String, Value>) -> Option<&'c Value> {
        let (first, rest) = self.0.split_first()?;
        let value = rest.iter().try_fold(claims.get(first)?, |value, token| match value {
            Value::Object(members) => members.get(token),
            Value::Array(values) => token.parse().ok().and_then(|index: usize| values.get(index)),
            _ => None,
        });
        value.filter(|value| !value.is_null())
    }

    /// Puts `value` at this place, for a token that is to be signed. What stands in the way of an object is replaced.
    pub fn put(&self, claims: &mut Map<String, Value>, value: Value) {
        let Some((last, parents)) = self.0.split_last() else { return };
        let mut members = claims;
        for parent in parents {
            let next = members.entry(parent).or_insert(Value::Null);
            if !next.is_object() {
                *next = Value::Object(Map::new());
            }
            let Value::Object(object) = next else { return };
            members = object;
        }
        members.insert(last.clone(), value);
    }
}

/// A claim that every token of an issuer must have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequiredClaim {
    /// Where it stands.
    pub claim: ClaimPath,
    /// What it must be.
    pub accepted: Accepted,
}

/// What a required claim must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Accepted {
    /// Anything but null.
    Present,
    /// One of these texts, or a list with one of them in it.
    OneOf(Vec<String>),
}

impl RequiredClaim {
    /// Whether `claims` have it.
    pub fn holds(&self, claims: &Map<String, Value>) -> bool {
        let Some(value) = self.claim.find(claims) else { return false };
        let Accepted::OneOf(texts) = &self.accepted else { return true };
        let is_accepted = |value: &Value| value.as_str().is_some_and(|text| texts.iter().any(|one| one == text));
        match value {
            Value::Array(values) => values.iter().any(is_accepted),
            value => is_accepted(value),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn path(text: &str) -> ClaimPath {
        text.parse().unwrap()
    }

    fn claims(value: &Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn claims_are_found_by_name_or_by_pointer() {
        let claims = claims(&json!({
            "a": 1, "https://example.com/roles": 2, "realm_access": { "roles": [3] }, "x/y": { "~": 4 }, "null": null, "": 5,
        }));
        for (text, expected) in [
            ("a", Some(1)),
            ("https://example.com/roles", Some(2)),
            ("/a", Some(1)),
            ("/realm_access/roles/0", Some(3)),
            ("/x~1y/~0", Some(4)),
            ("/", Some(5)),
            ("b", None),
            ("null", None),
            ("/a/b", None),
            ("/realm_access/roles/1", None),
            ("/realm_access/roles/-1", None),
            ("realm_access/roles", None),
        ] {
            assert_eq!(path(text).find(&claims).and_then(Value::as_i64), expected, "{text}");
        }
        for text in ["", "/a~", "/~2"] {
            assert_eq!(text.parse::<ClaimPath>(), Err(ClaimPathError), "{text}");
        }
    }

    #[test]
    fn what_was_put_is_found() {
        let mut claims = claims(&json!({ "a": 1 }));
        for text in ["b", "/a/b", "/c/d/e", "/c/f"] {
            path(text).put(&mut claims, text.into());
            assert_eq!(path(text).find(&claims), Some(&text.into()), "{text}");
        }
        assert_eq!(path("/c/d/e").find(&claims), Some(&"/c/d/e".into()));
    }

    #[test]
    fn required_claims_are_a_text_or_a_list_with_it_or_merely_there() {
        let required = |accepted| RequiredClaim { claim: path("tid"), accepted };
        let one_of = required(Accepted::OneOf(vec!["x".to_owned(), "y".to_owned()]));
        let present = required(Accepted::Present);
        for (value, is_one, is_present) in [
            (json!({ "tid": "x" }), true, true),
            (json!({ "tid": ["z", "y"] }), true, true),
            (json!({ "tid": "z" }), false, true),
            (json!({ "tid": "X" }), false, true),
            (json!({ "tid": ["z", 3] }), false, true),
            (json!({ "tid": [["x"]] }), false, true),
            (json!({ "tid": { "x": "x" } }), false, true),
            (json!({ "tid": 7 }), false, true),
            (json!({ "tid": null }), false, false),
            (json!({}), false, false),
        ] {
            let claims = claims(&value);
            assert_eq!((one_of.holds(&claims), present.holds(&claims)), (is_one, is_present), "{value}");
        }
    }
}
