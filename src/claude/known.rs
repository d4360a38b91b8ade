//! What of the API this version knows by name, so that ops see what is new. Nothing here decides anything.
//!
//! Source: the types of the official Python SDK 2.12.0 (`anthropic_beta_param`, `message_create_params`), and the fields
//! of the older lines that are still in use.

use smallvec::SmallVec;

/// Whether `value` of `anthropic-beta` is one that this version knows.
pub fn known_beta(value: &str) -> bool {
    BETAS.binary_search(&value).is_ok()
}

/// Whether a message's or a batch's body has a field of this name, as far as this version knows.
pub(super) fn known_field(name: &str) -> bool {
    FIELDS.binary_search(&name).is_ok()
}

/// The values of `anthropic-beta` in a request's header lines, of which there may be several with commas between values.
/// `None` when there are more than 64, or one is no visible ASCII text: what cannot be read cannot be judged.
pub fn betas<'h>(lines: impl IntoIterator<Item = &'h [u8]>) -> Option<SmallVec<[&'h str; 4]>> {
    let mut values = SmallVec::new();
    for line in lines {
        let line = std::str::from_utf8(line).ok()?;
        for value in line.split(',').map(|value| value.trim_matches([' ', '\t'])).filter(|value| !value.is_empty()) {
            if values.len() == MAX_BETAS || !value.bytes().all(|byte| byte.is_ascii_graphic()) {
                return None;
            }
            values.push(value);
        }
    }
    Some(values)
}

const MAX_BETAS: usize = 64;

/// Fields of a message's or a batch's body, sorted.
const FIELDS: [&str; 31] = [
    "billing_policy",
    "cache_control",
    "compaction",
    "container",
    "context_management",
    "custom_id",
    "diagnostics",
    "fallback_credit_token",
    "fallbacks",
    "inference_geo",
    "max_tokens",
    "mcp_servers",
    "messages",
    "metadata",
    "model",
    "output_config",
    "output_format",
    "params",
    "requests",
    "service_tier",
    "speed",
    "stop_sequences",
    "stream",
    "system",
    "temperature",
    "thinking",
    "thread",
    "tool_choice",
    "tools",
    "top_k",
    "top_p",
];

/// The values of `anthropic-beta` in the SDK, sorted.
const BETAS: [&str; 58] = [
    "admin-user-sign-out-2026-10-08",
    "advisor-tool-2026-03-01",
    "agent-memory-2026-07-22",
    "analytics-usage-cost-2026-08-24",
    "cache-diagnosis-2026-04-07",
    "ce-claude-code-managed-settings-2026-10-06",
    "ce-plugins-2026-09-01",
    "ce-user-management-2026-07-13",
    "code-execution-2025-05-22",
    "compact-2026-01-12",
    "compact-2026-09-04",
    "computer-use-2024-10-22",
    "computer-use-2025-01-24",
    "computer-use-2025-11-24",
    "context-1m-2025-08-07",
    "context-management-2025-06-27",
    "dev-full-thinking-2025-05-14",
    "dreaming-2026-04-21",
    "experimental-claude-tag-2026-10-21",
    "extended-cache-ttl-2025-04-11",
    "fallback-credit-2026-06-01",
    "fallback-credit-2026-07-01",
    "fast-mode-2026-02-01",
    "files-api-2025-04-14",
    "inline-tools-2026-09-15",
    "interleaved-thinking-2025-05-14",
    "managed-agents-2026-04-01",
    "mcp-client-2025-04-04",
    "mcp-client-2025-11-20",
    "mcp-client-2026-09-15",
    "mcp-tunnels-2026-06-22",
    "message-batches-2024-09-24",
    "message-threads-2026-08-12",
    "mid-conversation-output-config-2026-07-01",
    "mid-conversation-system-clear-at-2026-08-21",
    "mid-conversation-tool-changes-2026-07-01",
    "model-context-window-exceeded-2025-08-26",
    "output-128k-2025-02-19",
    "output-300k-2026-03-24",
    "pdfs-2024-09-25",
    "prompt-caching-2024-07-31",
    "server-side-fallback-2026-06-01",
    "server-side-fallback-2026-07-01",
    "skills-2025-10-02",
    "spend-limit-reads-2026-09-26",
    "structured-outputs-2025-11-13",
    "task-budgets-2026-03-13",
    "telemetry-destinations-2026-08-11",
    "thinking-binding-controls-2026-08-01",
    "thinking-display-updates-2026-08-18",
    "thinking-token-count-2026-05-13",
    "token-counting-2024-11-01",
    "token-efficient-tools-2025-02-19",
    "user-profiles-2026-03-24",
    "user-profiles-2026-08-18",
    "user-profiles-2026-09-04",
    "user-profiles-billing-2026-10-01",
    "webhooks-2026-10-07",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_lists_are_sorted_so_that_every_entry_is_found() {
        assert!(BETAS.is_sorted() && FIELDS.is_sorted());
        assert!(BETAS.iter().all(|beta| known_beta(beta)) && FIELDS.iter().all(|field| known_field(field)));
        assert!(!known_beta("time-travel-2031-01-01") && !known_field("time_travel"));
    }

    #[test]
    fn beta_values_are_read_from_all_lines_and_hidden_ones_are_refused() {
        let read = |lines: &[&'static str]| betas(lines.iter().map(|line| line.as_bytes()));
        assert_eq!(read(&["a, b ,,c", "d"]).unwrap().as_slice(), ["a", "b", "c", "d"]);
        assert_eq!(read(&[]).unwrap().len(), 0);
        for bad in ["a b", "a\u{a0}", "b\u{e4}ta", &"a,".repeat(65)] {
            assert_eq!(betas([bad.as_bytes()]), None, "{bad:?}");
        }
        assert_eq!(betas([&b"\xff"[..]]), None);
    }
}
