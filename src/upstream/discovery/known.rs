//! What is known of one endpoint: plain values, the time included.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use super::{EndpointState, Placed};
use crate::upstream::address::AddressFault;
use crate::upstream::{Endpoint, Networks, ResolveFault, Resolved};

/// One endpoint, its addresses, and when to look again.
pub(super) struct Known {
    endpoint: Endpoint,
    preferred: bool,
    usable: Vec<SocketAddr>,
    refused: Vec<(SocketAddr, AddressFault)>,
    source: Source,
}

/// Where the addresses come from.
enum Source {
    /// The endpoint is an address.
    Written,
    Name(Lookups),
}

/// How the lookups of a name went.
struct Lookups {
    answered: Option<Instant>,
    /// Why the last one failed.
    fault: Option<ResolveFault>,
    failures_in_a_row: u32,
    due: Instant,
}

/// What a lookup changed that people should hear of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum News {
    /// Nothing.
    None,
    /// Addresses may not be used, and they are not those of the last time.
    Refused,
    /// The lookup failed, and not as the last time.
    Failed,
    /// Nothing is wrong any more.
    Good,
}

/// The longest pause after lookups that failed.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

impl Known {
    /// What is known of `endpoint` without asking anybody. A name is due at once.
    pub fn new(endpoint: Endpoint, preferred: bool, networks: &Networks, now: Instant) -> Self {
        let written = endpoint.literal();
        let source = match written {
            Some(_) => Source::Written,
            None => Source::Name(Lookups { answered: None, fault: None, failures_in_a_row: 0, due: now }),
        };
        let (usable, refused) = judge(written.map(|address| address.ip()), endpoint.port(), networks);
        Self { endpoint, preferred, usable, refused, source }
    }

    /// Takes an answer over, or that there is none.
    pub fn learn(&mut self, answer: Result<Resolved, ResolveFault>, networks: &Networks, now: Instant) -> News {
        let Source::Name(lookups) = &mut self.source else { return News::None };
        match answer {
            Ok(resolved) => {
                let (usable, refused) = judge(resolved.addresses, self.endpoint.port(), networks);
                let failed = lookups.fault.is_some();
                *lookups =
                    Lookups { answered: Some(now), fault: None, failures_in_a_row: 0, due: now + resolved.valid_for };
                let news = match (refused == self.refused && !failed, refused.is_empty()) {
                    (true, _) => News::None,
                    (false, true) => News::Good,
                    (false, false) => News::Refused,
                };
                (self.usable, self.refused) = (usable, refused);
                news
            }
            Err(fault) => {
                lookups.due = now + pause(lookups.failures_in_a_row);
                lookups.failures_in_a_row = lookups.failures_in_a_row.saturating_add(1);
                let news = if lookups.fault.as_ref() == Some(&fault) { News::None } else { News::Failed };
                lookups.fault = Some(fault);
                news
            }
        }
    }

    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// When to look it up next; `None` if it is an address.
    pub fn due(&self) -> Option<Instant> {
        self.lookups().map(|lookups| lookups.due)
    }

    /// The addresses that may be used.
    pub fn placed(&self) -> impl Iterator<Item = Placed> {
        self.usable.iter().map(|&address| Placed { address, preferred: self.preferred })
    }

    /// The addresses that may not be used, with why.
    pub fn refused(&self) -> &[(SocketAddr, AddressFault)] {
        &self.refused
    }

    /// What is wrong with it, in one text.
    pub fn faults(&self) -> Option<String> {
        let lookup = self.lookups().and_then(|lookups| match &lookups.fault {
            Some(fault) => Some(fault.to_string()),
            None => lookups.answered.is_none().then(|| "not looked up yet".to_owned()),
        });
        let refused = self.refused.iter().map(|(address, fault)| format!("{address} {fault}"));
        let faults: Vec<_> = lookup.into_iter().chain(refused).collect();
        (!faults.is_empty()).then(|| format!("{}: {}", self.endpoint, faults.join(", ")))
    }

    pub fn state(&self, now: Instant) -> EndpointState {
        let lookups = self.lookups();
        EndpointState {
            name: self.endpoint.to_string(),
            preferred: self.preferred,
            usable: self.usable.len(),
            refused: self.refused.len(),
            fault: lookups.and_then(|lookups| lookups.fault.as_ref()).map(ToString::to_string),
            age: lookups.and_then(|lookups| lookups.answered).map(|answered| now.saturating_duration_since(answered)),
        }
    }

    fn lookups(&self) -> Option<&Lookups> {
        match &self.source {
            Source::Written => None,
            Source::Name(lookups) => Some(lookups),
        }
    }
}

/// The pause after a lookup that failed, when so many before it have: 1 s, doubling.
fn pause(failures_before: u32) -> Duration {
    let seconds = 1_u64.checked_shl(failures_before).unwrap_or(u64::MAX);
    Duration::from_secs(seconds).min(LONGEST_PAUSE)
}

/// The addresses as they will be connected to, apart by whether they may be.
fn judge(
    addresses: impl IntoIterator<Item = IpAddr>,
    port: u16,
    networks: &Networks,
) -> (Vec<SocketAddr>, Vec<(SocketAddr, AddressFault)>) {
    let (mut usable, mut refused) = (Vec::new(), Vec::new());
    for address in addresses {
        let address = SocketAddr::new(address.to_canonical(), port);
        match networks.judge(address.ip()) {
            Ok(()) => usable.push(address),
            Err(fault) => refused.push((address, fault)),
        }
    }
    (usable, refused)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn networks() -> Networks {
        Networks::new(true, Vec::new())
    }

    fn known(endpoint: &str, now: Instant) -> Known {
        Known::new(endpoint.parse().unwrap(), false, &networks(), now)
    }

    fn answer(addresses: &[&str], seconds: u64) -> Resolved {
        let addresses = addresses.iter().map(|address| address.parse().unwrap()).collect();
        Resolved { addresses, valid_for: Duration::from_secs(seconds) }
    }

    fn usable(known: &Known) -> Vec<String> {
        known.placed().map(|placed| placed.address.to_string()).collect()
    }

    #[test]
    fn a_name_is_due_at_once_and_again_when_its_answer_has_run_out() {
        let start = Instant::now();
        let mut known = known("api.internal:443", start);
        assert_eq!(known.due(), Some(start));
        assert_eq!(known.faults().as_deref(), Some("api.internal:443: not looked up yet"));
        let later = start + Duration::from_secs(7);
        assert_eq!(known.learn(Ok(answer(&["10.0.0.1", "fd00::1"], 20)), &networks(), later), News::None);
        assert_eq!(usable(&known), ["10.0.0.1:443", "[fd00::1]:443"]);
        assert_eq!((known.due(), known.faults()), (Some(later + Duration::from_secs(20)), None));
        assert_eq!(known.state(later + Duration::from_secs(3)).age, Some(Duration::from_secs(3)));
    }

    #[test]
    fn failures_keep_the_last_addresses_and_are_tried_again_ever_more_slowly() {
        let now = Instant::now();
        let mut known = known("api.internal:443", now);
        known.learn(Ok(answer(&["10.0.0.1"], 20)), &networks(), now);
        let mut pauses = Vec::new();
        for failure in 0..70 {
            let news = known.learn(Err(ResolveFault::NoAnswer), &networks(), now);
            assert_eq!(news, if failure == 0 { News::Failed } else { News::None });
            pauses.push((known.due().unwrap() - now).as_secs());
        }
        assert_eq!(pauses[..7], [1, 2, 4, 8, 16, 30, 30]);
        assert_eq!(pauses[69], 30);
        assert_eq!(usable(&known), ["10.0.0.1:443"]);
        assert_eq!(known.faults().as_deref(), Some("api.internal:443: no answer in time"));
        assert_eq!(known.learn(Err(ResolveFault::NoSuchName), &networks(), now), News::Failed);
        assert_eq!(known.learn(Ok(answer(&["10.0.0.1"], 20)), &networks(), now), News::Good);
        assert_eq!(known.faults(), None);
        known.learn(Err(ResolveFault::NoAnswer), &networks(), now);
        assert_eq!(known.due(), Some(now + Duration::from_secs(1)));
    }

    #[test]
    fn what_may_not_be_used_is_dropped_at_once_and_told_once() {
        let now = Instant::now();
        let mut known = known("api.internal:443", now);
        known.learn(Ok(answer(&["10.0.0.1", "10.0.0.2"], 20)), &networks(), now);
        let public = || Ok(answer(&["8.8.8.8", "169.254.169.254"], 20));
        assert_eq!(known.learn(public(), &networks(), now), News::Refused);
        assert_eq!(usable(&known), [""; 0]);
        assert_eq!(
            known.faults().as_deref(),
            Some("api.internal:443: 8.8.8.8:443 is public, 169.254.169.254:443 is link-local")
        );
        assert_eq!(known.learn(public(), &networks(), now), News::None);
        assert_eq!(known.learn(Err(ResolveFault::NoAnswer), &networks(), now), News::Failed);
        assert_eq!(known.state(now).refused, 2);
        assert_eq!(known.learn(public(), &networks(), now), News::Refused);
        assert_eq!(known.learn(Ok(answer(&["10.0.0.3", "8.8.8.8"], 20)), &networks(), now), News::Refused);
        assert_eq!(usable(&known), ["10.0.0.3:443"]);
        assert_eq!(known.learn(Ok(answer(&["10.0.0.3"], 20)), &networks(), now), News::Good);
        assert_eq!(known.learn(Ok(answer(&["10.0.0.4"], 20)), &networks(), now), News::None);
    }

    #[test]
    fn a_written_address_is_there_from_the_start_and_never_due() {
        let now = Instant::now();
        let mut written = known("[::ffff:10.0.0.1]:443", now);
        assert_eq!((usable(&written), written.due(), written.faults()), (vec!["10.0.0.1:443".to_owned()], None, None));
        written.learn(Ok(answer(&["10.0.0.2"], 20)), &networks(), now);
        assert_eq!(usable(&written), ["10.0.0.1:443"]);
        let public = known("8.8.8.8:443", now);
        assert_eq!(public.faults().as_deref(), Some("8.8.8.8:443: 8.8.8.8:443 is public"));
    }
}
