//! Lists in pages. The API has two ways to go on from a page, and a page here serves both.

use std::collections::HashMap;

use axum::extract::Query;
use http::Uri;
use serde_json::{Value, json};

use super::error::ApiError;

const DEFAULT_LIMIT: usize = 20;
const MAX_LIMIT: usize = 1_000;

/// Which part of a list the client asks for.
#[derive(Debug, PartialEq, Eq)]
pub struct Paging {
    limit: usize,
    after: Option<String>,
    before: Option<String>,
}

impl Paging {
    /// `after_id`, `before_id` and `limit`; `page` is what an earlier page named as `next_page`.
    pub fn of(uri: &Uri) -> Result<Self, ApiError> {
        let Query(mut query) = Query::<HashMap<String, String>>::try_from_uri(uri)
            .map_err(|error| ApiError::invalid(error.body_text()))?;
        let limit = match query.get("limit") {
            Some(text) => text.parse().unwrap_or(0),
            None => DEFAULT_LIMIT,
        };
        if !(1..=MAX_LIMIT).contains(&limit) {
            let message = format!("limit: Input should be a number of 1 to {MAX_LIMIT}");
            return Err(ApiError::invalid(message));
        }
        Ok(Self {
            limit,
            after: query.remove("after_id").or_else(|| query.remove("page")),
            before: query.remove("before_id"),
        })
    }

    /// The page of `items`, each of which has an `id`. A cursor that is gone starts over.
    pub fn cut(&self, items: &[Value]) -> Value {
        let position = |id: &Option<String>| {
            let id = id.as_deref()?;
            items.iter().position(|item| item_id(item) == Some(id))
        };
        let (data, has_more) = if let Some(before) = position(&self.before) {
            let start = before.saturating_sub(self.limit);
            (items.get(start..before).unwrap_or_default(), start > 0)
        } else {
            let start = position(&self.after).map_or(0, |at| at + 1);
            let end = (start + self.limit).min(items.len());
            (items.get(start..end).unwrap_or_default(), end < items.len())
        };
        let last_id = data.last().and_then(item_id);
        json!({
            "data": data,
            "has_more": has_more,
            "first_id": data.first().and_then(item_id),
            "last_id": last_id,
            "next_page": last_id.filter(|_| has_more),
        })
    }
}

fn item_id(item: &Value) -> Option<&str> {
    item.get("id")?.as_str()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(query: &str) -> Result<Value, ApiError> {
        let items: Vec<Value> = ["a", "b", "c", "d"].iter().map(|id| json!({"id": id})).collect();
        let uri = format!("/v1/models?{query}").parse().unwrap();
        Ok(Paging::of(&uri)?.cut(&items))
    }

    #[test]
    fn pages_follow_each_other_both_ways() {
        for (query, first, last, has_more) in [
            ("", "a", "d", false),
            ("limit=2", "a", "b", true),
            ("limit=2&after_id=b", "c", "d", false),
            ("limit=2&page=a", "b", "c", true),
            ("limit=2&before_id=d", "b", "c", true),
            ("limit=9&before_id=c", "a", "b", false),
            ("limit=1&after_id=gone", "a", "a", true),
        ] {
            let page = page(query).unwrap();
            assert_eq!(page["first_id"], first, "{query}");
            assert_eq!(page["last_id"], last, "{query}");
            assert_eq!(page["has_more"], has_more, "{query}");
            assert_eq!(page["next_page"].is_string(), has_more, "{query}");
        }
        assert_eq!(page("after_id=d").unwrap()["data"], json!([]));
    }

    #[test]
    fn limits_out_of_range_are_refused() {
        for query in ["limit=0", "limit=1001", "limit=x"] {
            assert!(page(query).is_err(), "{query}");
        }
    }
}
