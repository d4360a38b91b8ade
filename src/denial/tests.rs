use std::collections::HashSet;

use super::*;

/// One of each. A new variant belongs here too; `reason` and `error_type` do not compile without it.
pub(super) fn all() -> Vec<Denial> {
    let endpoint = EndpointGroup::Messages;
    let text = || "inner detail".to_owned();
    let reached = |measure| Denial::LimitReached { limit: text(), measure, retry_after: Some(Duration::from_secs(3)) };
    vec![
        Denial::AddressForbidden { rule: text() },
        Denial::CredentialMissing,
        Denial::CredentialConflict,
        Denial::CredentialMalformed,
        Denial::AnthropicCredential,
        Denial::CredentialInUrl,
        Denial::IssuerUnknown,
        Denial::IssuerUnavailable { issuer: text() },
        Denial::TokenInvalid(TokenFault::Signature),
        Denial::TokenExpired,
        Denial::TokenNotYetValid,
        Denial::TokenLifetime,
        Denial::TokenRevoked { by: "subject" },
        Denial::TokenBinding(BindingFault::ProofInvalid),
        Denial::RevocationUnavailable(text()),
        Denial::RuleDenied { rule: text() },
        Denial::HoursForbidden { rule: text() },
        Denial::ThinkingForbidden { asked: 2, ceiling: 1 },
        Denial::FeatureForbidden(Feature::ServerTool("web_search".into())),
        Denial::FeatureForbidden(Feature::McpServers),
        Denial::FeatureForbidden(Feature::Files),
        Denial::FeatureForbidden(Feature::Skills),
        Denial::FeatureForbidden(Feature::Beta("x".to_owned())),
        Denial::FeatureForbidden(Feature::InferenceGeo(None)),
        Denial::PriceUnknown { model: Model::parse("claude-opus-5").unwrap() },
        Denial::DoorClosed("requests"),
        Denial::Contained { rule: text() },
        Denial::Throttled { rule: text(), retry_after: Duration::from_secs(3) },
        reached(Measure::Requests),
        reached(Measure::InputTokens),
        reached(Measure::OutputTokens),
        reached(Measure::Concurrent),
        reached(Measure::ConcurrentStreams),
        reached(Measure::Cost),
        Denial::LimitSpent { limit: text(), measure: Measure::OutputTokens },
        Denial::StoreUnavailable { limit: text() },
        Denial::EndpointUnknown,
        Denial::EndpointForbidden { endpoint },
        Denial::ModelForbidden { model: Model::parse("claude-opus-5").unwrap(), endpoint },
        Denial::MaxTokensForbidden { asked: 2, ceiling: 1 },
        Denial::RequestMalformed("x"),
        Denial::BodyMalformed("x".to_owned()),
        Denial::BodyEncoded,
        Denial::ContentForbidden { kind: Kind::CREDIT_CARD },
        Denial::BodyTooLarge { limit: 1 },
        Denial::BodyTimeout,
        Denial::BodyMemory,
        Denial::AuditUnavailable,
        Denial::Stopping,
        Denial::UpstreamAddress(text()),
        Denial::UpstreamUnreachable(text()),
        Denial::UpstreamTimeout(Overdue::FirstByte),
        Denial::UpstreamFailed(text()),
        Denial::UpstreamRedirect,
        Denial::UpstreamKey(text()),
        Denial::Internal(text()),
    ]
}

#[test]
fn every_reason_is_its_own_and_documented_with_its_status() {
    let documented = include_str!("../../docs/metrics.md");
    let mut reasons = HashSet::new();
    for denial in all() {
        assert!(reasons.insert(denial.reason()), "{} twice", denial.reason());
        let status = denial.error_type().status().to_string();
        let row = documented.lines().find(|line| line.contains(&format!("`{}`", denial.reason())));
        let row = row.unwrap_or_else(|| panic!("{} is not in docs/metrics.md", denial.reason()));
        assert!(row.split('|').nth(1).unwrap().contains(&status), "{} is {status}: {row}", denial.reason());
    }
    assert_eq!(HashSet::from(Denial::REASONS), reasons);
}

#[test]
fn clients_are_told_not_to_wait_for_what_takes_long() {
    let reached = |measure, wait: Option<u64>| Denial::LimitReached {
        limit: "x".to_owned(),
        measure,
        retry_after: wait.map(Duration::from_secs),
    };
    for (denial, forbids) in [
        (reached(Measure::Requests, Some(62)), false),
        (reached(Measure::Requests, Some(3600)), true),
        (reached(Measure::OutputTokens, None), true),
        (reached(Measure::Cost, Some(1)), true),
        (Denial::DoorClosed("x"), false),
    ] {
        assert_eq!(denial.forbids_retry(), forbids, "{denial:?}");
    }
}

#[test]
fn callers_learn_nothing_of_the_inside() {
    for denial in all() {
        let message = denial.message();
        assert!(
            !message.is_empty() && !message.contains("inner detail") && !message.contains("signature"),
            "{message}"
        );
    }
}
