//! Which tools of a message the API runs itself, and by which name grants know them.
//!
//! Source: the tool reference of the API's documentation, and the official SDKs' tool types.

use std::borrow::Cow;

/// A tool that the API runs, by the name that grants list: its `type` without the date.
pub type ServerTool = Cow<'static, str>;

/// The name under which every MCP toolset goes.
pub const MCP_TOOLSET: &str = "mcp_toolset";

/// The server tool that a tool's `type` names; `None` for one that the client runs: no `type`, `custom`, and the tools
/// whose schema alone is the API's. A type that is not known is taken for a server tool of its own name, so that a grant
/// must name it.
///
/// # Errors
/// When `kind` is not spelled like a type.
pub(super) fn server_tool(kind: &str) -> Result<Option<ServerTool>, ()> {
    let spelled = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'_' | b'-' | b'.');
    if kind.is_empty() || kind.len() > MAX_NAME || !kind.bytes().all(spelled) {
        return Err(());
    }
    Ok(match without_date(kind) {
        "custom" | "bash" | "text_editor" | "computer" | "computer_toolset" | "browser_toolset" | "memory" => None,
        "web_search" => Some(Cow::Borrowed("web_search")),
        "web_fetch" => Some(Cow::Borrowed("web_fetch")),
        "code_execution" => Some(Cow::Borrowed("code_execution")),
        "advisor" => Some(Cow::Borrowed("advisor")),
        MCP_TOOLSET => Some(Cow::Borrowed(MCP_TOOLSET)),
        "tool_search_tool_bm25" | "tool_search_tool_regex" => Some(Cow::Borrowed("tool_search")),
        other => Some(Cow::Owned(other.to_owned())),
    })
}

const MAX_NAME: usize = 64;

/// `kind` without the `_20260318` that versions of a tool end with.
fn without_date(kind: &str) -> &str {
    match kind.rsplit_once('_') {
        Some((name, date)) if date.len() == 8 && date.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => kind,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tools_that_the_client_runs_need_no_grant() {
        for kind in [
            "custom",
            "bash_20250124",
            "text_editor_20250728",
            "computer_20251124",
            "computer_toolset_20260801",
            "browser_toolset_20260801",
            "memory_20250818",
        ] {
            assert_eq!(server_tool(kind), Ok(None), "{kind}");
        }
    }

    #[test]
    fn every_version_of_a_server_tool_has_one_name_and_unknown_ones_have_their_own() {
        for (kind, name) in [
            ("web_search_20250305", "web_search"),
            ("web_fetch_20991231", "web_fetch"),
            ("code_execution_20260521", "code_execution"),
            ("advisor_20260301", "advisor"),
            ("mcp_toolset", "mcp_toolset"),
            ("tool_search_tool_bm25", "tool_search"),
            ("tool_search_tool_regex_20251119", "tool_search"),
            ("bash_code_execution_20270101", "bash_code_execution"),
            ("launch_rocket_20270101", "launch_rocket"),
            ("web_search_2025", "web_search_2025"),
        ] {
            assert_eq!(server_tool(kind).unwrap().unwrap(), name, "{kind}");
        }
        for bad in ["", "Web_search_20250305", "web search", "w\u{e4}b", &"x".repeat(65)] {
            assert!(server_tool(bad).is_err(), "{bad}");
        }
    }
}
