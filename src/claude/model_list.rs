//! Shows a caller only the models that it may use.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::{RawValue, to_raw_value};

use super::model::Model;

#[derive(Deserialize)]
struct Entry<'a> {
    #[serde(borrow)]
    id: std::borrow::Cow<'a, str>,
}

/// A page of `GET /v1/models` with only the models for which `shows` holds, everything else of it unchanged. The cursors
/// `first_id` and `last_id` name models that are left, so that the next page follows; on a page of which nothing is left
/// but that others follow they stay.
///
/// `None` when `page` is none.
pub fn visible_models(page: &[u8], shows: impl Fn(&Model) -> bool) -> Option<Vec<u8>> {
    let mut page: BTreeMap<String, Box<RawValue>> = serde_json::from_slice(page).ok()?;
    let entries: Vec<&RawValue> = serde_json::from_str(page.get("data")?.get()).ok()?;
    let id = |entry: &RawValue| serde_json::from_str::<Entry<'_>>(entry.get()).ok().map(|entry| entry.id.into_owned());
    let mut left = Vec::new();
    let mut ids = Vec::new();
    for entry in entries {
        let id = id(entry)?;
        if Model::parse(&id).is_some_and(|model| shows(&model)) {
            left.push(entry);
            ids.push(id);
        }
    }
    let data = to_raw_value(&left).ok()?;
    let more = page.get("has_more").is_some_and(|more| more.get() == "true");
    if !ids.is_empty() || !more {
        for (cursor, id) in [("first_id", ids.first()), ("last_id", ids.last())] {
            if let Some(value) = page.get_mut(cursor) {
                *value = to_raw_value(&id).ok()?;
            }
        }
    }
    page.insert("data".to_owned(), data);
    serde_json::to_vec(&page).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn visible(page: &str) -> Option<String> {
        let shows = |model: &Model| model.as_str().contains("haiku");
        visible_models(page.as_bytes(), shows).map(|page| String::from_utf8(page).unwrap())
    }

    #[test]
    fn only_models_that_may_be_used_are_left() {
        let page = r#"{"data":[{"id":"claude-opus-5","x":1.0},{"type":"model","id":"claude-haiku-5","x":{"y":1e3}}],"has_more":true,"first_id":"claude-opus-5","last_id":"claude-haiku-5","new":[ 1]}"#;
        let expected = r#"{"data":[{"type":"model","id":"claude-haiku-5","x":{"y":1e3}}],"first_id":"claude-haiku-5","has_more":true,"last_id":"claude-haiku-5","new":[ 1]}"#;
        assert_eq!(visible(page).as_deref(), Some(expected));
    }

    #[test]
    fn an_empty_page_keeps_its_cursor_while_others_follow() {
        let page = |more: bool| {
            format!(r#"{{"data":[{{"id":"claude-opus-5"}}],"has_more":{more},"last_id":"claude-opus-5"}}"#)
        };
        assert_eq!(visible(&page(true)).unwrap(), r#"{"data":[],"has_more":true,"last_id":"claude-opus-5"}"#);
        assert_eq!(visible(&page(false)).unwrap(), r#"{"data":[],"has_more":false,"last_id":null}"#);
    }

    #[test]
    fn what_is_no_page_is_not_shown() {
        for bad in ["", "[]", "{}", r#"{"data":{}}"#, r#"{"data":[{"name":"x"}]}"#] {
            assert_eq!(visible(bad), None, "{bad}");
        }
    }
}
