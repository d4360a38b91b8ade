//! `GET /v1/models` and `GET /v1/models/{model_id}`.

use axum::Json;
use axum::extract::Path;
use http::Uri;
use serde_json::{Value, json};

use super::error::ApiError;
use super::paging::Paging;

/// The API's own answer where the release date is not known.
const UNKNOWN_DATE: &str = "1970-01-01T00:00:00Z";
const FULL: Sizes = Sizes { input: 1_000_000, output: 128_000 };
const SMALL: Sizes = Sizes { input: 200_000, output: 64_000 };

struct Sizes {
    input: u64,
    output: u64,
}

/// Newest first: id, display name, line, release date, sizes.
const MODELS: [(&str, &str, &str, &str, Sizes); 18] = [
    ("claude-fable-5-2", "Claude Fable 5.2", "fable", UNKNOWN_DATE, FULL),
    ("claude-mythos-5-2", "Claude Mythos 5.2", "mythos", UNKNOWN_DATE, FULL),
    ("claude-haiku-5-5", "Claude Haiku 5.5", "haiku", UNKNOWN_DATE, FULL),
    ("claude-sonnet-5-5", "Claude Sonnet 5.5", "sonnet", UNKNOWN_DATE, FULL),
    ("claude-fable-5-1", "Claude Fable 5.1", "fable", UNKNOWN_DATE, FULL),
    ("claude-opus-5-5", "Claude Opus 5.5", "opus", UNKNOWN_DATE, FULL),
    ("claude-mythos-5-1", "Claude Mythos 5.1", "mythos", UNKNOWN_DATE, FULL),
    ("claude-sonnet-5", "Claude Sonnet 5", "sonnet", UNKNOWN_DATE, FULL),
    ("claude-fable-5", "Claude Fable 5", "fable", UNKNOWN_DATE, FULL),
    ("claude-mythos-5", "Claude Mythos 5", "mythos", UNKNOWN_DATE, FULL),
    ("claude-opus-5", "Claude Opus 5", "opus", UNKNOWN_DATE, FULL),
    ("claude-opus-4-8", "Claude Opus 4.8", "opus", UNKNOWN_DATE, FULL),
    ("claude-opus-4-7", "Claude Opus 4.7", "opus", "2026-04-16T00:00:00Z", FULL),
    ("claude-opus-4-6", "Claude Opus 4.6", "opus", "2026-02-05T00:00:00Z", FULL),
    ("claude-sonnet-4-6", "Claude Sonnet 4.6", "sonnet", UNKNOWN_DATE, FULL),
    ("claude-opus-4-5-20251101", "Claude Opus 4.5", "opus", "2025-11-01T00:00:00Z", SMALL),
    ("claude-haiku-4-5-20251001", "Claude Haiku 4.5", "haiku", "2025-10-01T00:00:00Z", SMALL),
    ("claude-sonnet-4-5-20250929", "Claude Sonnet 4.5", "sonnet", "2025-09-29T00:00:00Z", SMALL),
];

pub async fn list(uri: Uri) -> Result<Json<Value>, ApiError> {
    Ok(Json(Paging::of(&uri)?.cut(&all())))
}

/// Also by the alias, whose answer bears the full id.
pub async fn retrieve(Path(id): Path<String>) -> Result<Json<Value>, ApiError> {
    let full_id = resolve_alias(&id);
    let found = all().into_iter().find(|model| model.get("id") == Some(&Value::from(full_id)));
    found.map(Json).ok_or_else(|| ApiError::not_found(format!("model: {id}")))
}

/// Models before 4.6 have a date in their id and an alias without it.
pub fn resolve_alias(id: &str) -> &str {
    match id {
        "claude-haiku-4-5" => "claude-haiku-4-5-20251001",
        "claude-opus-4-5" => "claude-opus-4-5-20251101",
        "claude-sonnet-4-5" => "claude-sonnet-4-5-20250929",
        full => full,
    }
}

fn all() -> Vec<Value> {
    let info = |(id, display_name, line, created_at, sizes): &(&str, &str, &str, &str, Sizes)| {
        json!({
            "type": "model",
            "id": id,
            "display_name": display_name,
            "created_at": created_at,
            "line": line,
            "lifecycle": "active",
            "deprecated_at": null,
            "retires_at": null,
            "max_input_tokens": sizes.input,
            "max_tokens": sizes.output,
            "capabilities": null,
        })
    };
    MODELS.iter().map(info).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_alias_leads_to_a_model() {
        for alias in ["claude-haiku-4-5", "claude-opus-4-5", "claude-sonnet-4-5"] {
            let full = resolve_alias(alias);
            assert!(full.starts_with(alias) && full != alias);
            assert!(all().iter().any(|model| model["id"] == full), "{alias}");
        }
    }
}
