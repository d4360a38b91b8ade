//! `GET /portcullis/whoami`: tells callers who they are here, what they may do, and how much of it is left.

use std::time::SystemTime;

use http::Method;
use pingora_proxy::Session;
use serde::Serialize;

use super::Gateway;
use super::context::RequestCtx;
use super::metering::{rfc3339, who};
use crate::denial::Denial;
use crate::limit::{Measure, Standing};
use crate::policy::GrantView;

/// The answer. Names are part of the contract with clients.
#[derive(Serialize)]
struct WhoAmI<'a> {
    issuer: &'a str,
    subject: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    email: Option<&'a str>,
    teams: &'a [String],
    scopes: &'a [String],
    expires: String,
    address: String,
    grants: Vec<GrantView<'a>>,
    limits: Vec<LimitView<'a>>,
}

/// One bound of a limit.
#[derive(Serialize)]
struct LimitView<'a> {
    name: &'a str,
    per: &'static str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    models: Vec<&'a str>,
    measure: &'static str,
    /// `s`, `min`, `hour`, `day`, `month`; absent for what counts while it is under way.
    #[serde(skip_serializing_if = "Option::is_none")]
    window: Option<&'static str>,
    limit: Amount,
    remaining: Amount,
    reset: String,
}

/// A count, or US dollars.
#[derive(Serialize)]
#[serde(untagged)]
enum Amount {
    Count(u64),
    Dollars(f64),
}

impl Amount {
    fn of(measure: Measure, amount: u64) -> Self {
        if measure == Measure::Cost { Self::Dollars(dollars(amount)) } else { Self::Count(amount) }
    }
}

/// Nano-dollars as dollars.
#[allow(clippy::cast_precision_loss)] // fifteen digits are exact, which is a million dollars
pub(super) fn dollars(nanos: u64) -> f64 {
    nanos as f64 / 1e9
}

impl Gateway {
    /// Whether the request asks who it is.
    pub(super) fn is_whoami(session: &Session) -> bool {
        let request = session.req_header();
        request.method == Method::GET && request.uri.path() == "/portcullis/whoami"
    }

    /// The answer, for a caller that could make calls: every check before policy holds.
    pub(super) async fn whoami(&self, session: &Session, ctx: &mut RequestCtx) -> Result<Vec<u8>, Denial> {
        let address = self.admit_address(session, ctx)?;
        let caller = &*ctx.caller.insert(self.identify(session, address)?);
        let standing = self.limits.standing_of(&who(&session.req_header().headers, caller), SystemTime::now()).await;
        let answer = WhoAmI {
            issuer: caller.issuer(),
            subject: caller.subject(),
            email: caller.email(),
            teams: caller.teams(),
            scopes: caller.scopes(),
            expires: rfc3339(caller.expires()),
            address: address.to_string(),
            grants: self.policy.grants_of(caller).map(crate::policy::Grant::view).collect(),
            limits: standing.iter().map(view).collect(),
        };
        serde_json::to_vec(&answer).map_err(|error| Denial::Internal(error.to_string()))
    }
}

fn view(standing: &Standing) -> LimitView<'_> {
    let Standing { rule, bound, remaining, reset } = standing;
    LimitView {
        name: &rule.name,
        per: rule.per.name(),
        models: rule.models.iter().map(crate::claude::ModelPattern::as_str).collect(),
        measure: bound.measure.name(),
        window: bound.span.unit().map(crate::limit::Unit::name),
        limit: Amount::of(bound.measure, bound.amount),
        remaining: Amount::of(bound.measure, *remaining),
        reset: rfc3339(*reset),
    }
}
