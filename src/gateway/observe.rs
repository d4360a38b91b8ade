//! What the signals learn of a request that has ended, and what follows their alarms.

use std::time::SystemTime;

use super::Gateway;
use super::context::{RequestCtx, Stage};
use crate::anomaly::{Ended, Observation};
use crate::audit::Record;
use crate::claude::{ErrorType, Family, Model, Peek, Usage};
use crate::containment::Asking;
use crate::denial::Denial;
use crate::identity::Caller;

impl Gateway {
    /// Whether a containment lets the call pass.
    pub(super) fn admit_contained(&self, caller: &Caller, call: &Peek) -> Result<(), Denial> {
        let asking = Asking { issuer: caller.issuer(), subject: caller.subject(), teams: caller.teams() };
        self.containments.admit(&asking, call.models().map(Model::family), SystemTime::now)
    }

    /// Tells the signals of a request by its record. Whoever left before a decision, or asked what is answered here, is no
    /// matter.
    pub(super) fn observe(&self, ctx: &RequestCtx, record: &Record, family: Option<Family>) {
        let Some(signals) = &self.signals else { return };
        let ended = match &ctx.stage {
            Stage::Arrived | Stage::Answered => return,
            Stage::Permitted(_) => Ended::Served,
            Stage::Refused(Denial::Contained { .. } | Denial::Throttled { .. }) => Ended::Contained,
            Stage::Refused(denial) if denial.error_type() == ErrorType::Authentication => Ended::TokenRefused,
            Stage::Refused(_) => Ended::Refused,
        };
        signals.observe(&Observation {
            family,
            issuer: ctx.caller.as_ref().map(Caller::issuer),
            subject: ctx.caller.as_ref().map(Caller::subject),
            teams: ctx.caller.as_ref().map(Caller::teams).unwrap_or_default(),
            address: ctx.address,
            ended,
            tokens: record.usage.as_ref().map(tokens).unwrap_or_default(),
            cost_micro_usd: record.cost_micro_usd.unwrap_or_default(),
            findings: record.findings.values().sum(),
        });
    }
}

/// All tokens of a call.
fn tokens(usage: &Usage) -> u64 {
    let kinds =
        [usage.input_tokens, usage.output_tokens, usage.cache_creation_input_tokens, usage.cache_read_input_tokens];
    kinds.into_iter().flatten().fold(0, u64::saturating_add)
}
