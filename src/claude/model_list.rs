//! Shows a caller only the models that it may use.
//!
//! SDKs stop at a page without entries, so pages of the upstream's list cannot be thinned out one by one: the whole list
//! is asked for, and pages are cut here from what is left of it (API reference, "List Models").

use std::borrow::Cow;
use std::collections::BTreeMap;

use form_urlencoded::{Serializer, parse};
use serde::Deserialize;
use serde_json::value::{RawValue, to_raw_value};

use super::model::Model;

/// Which part of the list a caller asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelPage {
    limit: usize,
    after: Option<String>,
    before: Option<String>,
}

/// The API's own bounds of `limit`.
const LIMITS: std::ops::RangeInclusive<usize> = 1..=1000;
const DEFAULT_LIMIT: usize = 20;

impl Default for ModelPage {
    fn default() -> Self {
        Self { limit: DEFAULT_LIMIT, after: None, before: None }
    }
}

impl ModelPage {
    /// Reads a query; `None` when the API would refuse it.
    pub fn from_query(query: &str) -> Option<Self> {
        let mut page = Self::default();
        for (name, value) in parse(query.as_bytes()) {
            match name.as_ref() {
                "limit" => page.limit = value.parse().ok().filter(|limit| LIMITS.contains(limit))?,
                "after_id" => page.after = Some(value.into_owned()),
                "before_id" => page.before = Some(value.into_owned()),
                _ => {}
            }
        }
        (page.after.is_none() || page.before.is_none()).then_some(page)
    }

    /// The query that asks for the whole list, and for all else that `query` asks for.
    pub fn whole_list(query: &str) -> String {
        let mut whole = Serializer::new(String::new());
        whole.extend_pairs(
            parse(query.as_bytes()).filter(|(name, _)| !matches!(name.as_ref(), "limit" | "after_id" | "before_id")),
        );
        whole.append_pair("limit", &LIMITS.end().to_string());
        whole.finish()
    }

    /// The range of this page among `ids`, and whether others follow in its direction.
    fn cut(&self, ids: &[String]) -> (std::ops::Range<usize>, bool) {
        let at = |id: &String| ids.iter().position(|listed| listed == id);
        if let Some(before) = &self.before {
            let end = at(before).unwrap_or_default();
            let start = end.saturating_sub(self.limit);
            return (start..end, start > 0);
        }
        let start = self.after.as_ref().map_or(0, |after| at(after).map_or(ids.len(), |at| at + 1));
        let end = ids.len().min(start.saturating_add(self.limit));
        (start..end, end < ids.len())
    }
}

#[derive(Deserialize)]
struct Entry<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
}

/// Cuts `page` from `list`, the answer of `GET /v1/models`, of which only models for which `shows` holds are left. All
/// else of the answer stays as it is. `None` when `list` is no such answer.
pub fn visible_models(list: &[u8], page: &ModelPage, shows: impl Fn(&Model) -> bool) -> Option<Vec<u8>> {
    let mut list: BTreeMap<String, Box<RawValue>> = serde_json::from_slice(list).ok()?;
    let entries: Vec<Box<RawValue>> = serde_json::from_str(list.get("data")?.get()).ok()?;
    let mut ids = Vec::new();
    let mut left = Vec::new();
    for entry in entries {
        let Entry { id } = serde_json::from_str(entry.get()).ok()?;
        if Model::parse(&id).is_some_and(|model| shows(&model)) {
            ids.push(id.into_owned());
            left.push(entry);
        }
    }
    let (range, more) = page.cut(&ids);
    let ids = ids.get(range.clone())?;
    for (name, value) in [
        ("data", to_raw_value(left.get(range)?)),
        ("has_more", to_raw_value(&more)),
        ("first_id", to_raw_value(&ids.first())),
        ("last_id", to_raw_value(&ids.last())),
    ] {
        list.insert(name.to_owned(), value.ok()?);
    }
    serde_json::to_vec(&list).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str = r#"{"data":[{"id":"claude-opus-5","x":1.0},{"type":"model","id":"claude-haiku-5","x":{"y":1e3}},
        {"id":"claude-haiku-4"},{"id":"claude-opus-4"},{"id":"claude-haiku-3"}],"has_more":false,"first_id":"claude-opus-5","last_id":"claude-haiku-3","new":[ 1]}"#;

    fn visible(query: &str) -> String {
        let shows = |model: &Model| model.as_str().contains("haiku");
        let page = ModelPage::from_query(query).unwrap();
        String::from_utf8(visible_models(LIST.as_bytes(), &page, shows).unwrap()).unwrap()
    }

    #[test]
    fn only_models_that_may_be_used_are_left_and_the_rest_is_unchanged() {
        let expected = r#"{"data":[{"type":"model","id":"claude-haiku-5","x":{"y":1e3}},{"id":"claude-haiku-4"},{"id":"claude-haiku-3"}],"first_id":"claude-haiku-5","has_more":false,"last_id":"claude-haiku-3","new":[ 1]}"#;
        assert_eq!(visible(""), expected);
    }

    #[test]
    fn pages_are_cut_from_what_is_left() {
        for (query, ids, more) in [
            ("limit=2", &["claude-haiku-5", "claude-haiku-4"][..], true),
            ("limit=2&after_id=claude-haiku-4", &["claude-haiku-3"], false),
            ("limit=1&before_id=claude-haiku-3", &["claude-haiku-4"], true),
            ("before_id=claude-haiku-4", &["claude-haiku-5"], false),
            ("after_id=claude-opus-4", &[], false),
        ] {
            let page: serde_json::Value = serde_json::from_str(&visible(query)).unwrap();
            let listed: Vec<_> =
                page["data"].as_array().unwrap().iter().map(|entry| entry["id"].as_str().unwrap()).collect();
            assert_eq!((&listed[..], page["has_more"].as_bool()), (ids, Some(more)), "{query}");
            assert_eq!(page["last_id"].as_str(), ids.last().copied());
        }
    }

    #[test]
    fn the_upstream_is_asked_for_the_whole_list() {
        assert_eq!(ModelPage::whole_list(""), "limit=1000");
        assert_eq!(ModelPage::whole_list("beta=true&limit=2&after_id=x&q=a%20b"), "beta=true&q=a+b&limit=1000");
        for bad in ["limit=0", "limit=1001", "limit=x", "after_id=a&before_id=b"] {
            assert_eq!(ModelPage::from_query(bad), None, "{bad}");
        }
    }

    #[test]
    fn what_is_no_list_is_not_shown() {
        let page = ModelPage::from_query("").unwrap();
        for bad in ["", "[]", "{}", r#"{"data":{}}"#, r#"{"data":[{"name":"x"}]}"#] {
            assert_eq!(visible_models(bad.as_bytes(), &page, |_| true), None, "{bad}");
        }
    }
}
