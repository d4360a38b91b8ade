//! All rooms as one configuration has them.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use super::watch::Watch;
use super::work::{Job, Subject};
use crate::admin::{Admin, Readiness};
use crate::audit::{AuditLog, LogRules};
use crate::config::{AuditConfig, AuditContent, Config, Fingerprint, OnStoreFailure, RevocationConfig, StoreConfig};
use crate::credential::{KeyRing, NamedKey};
use crate::gateway::{Bounds, Gateway, Listening, ProxyProtocol};
use crate::identity::binding::Binder;
use crate::identity::revocation::{FileStatus, Freshness, Part, Revocations, StoreFollower, StoreStatus};
use crate::identity::{CacheBounds, Issuers, KeyFetcher};
use crate::limit::{BodyMemory, Door, InFlight, Limits};
use crate::listener::ListenerTls;
use crate::privacy::Listener;
use crate::store::Store;
use crate::telemetry::{Metrics, SpanTap, Tracer};
use crate::upstream::Upstream;

/// What is there from the start of a process to its end, whatever its configuration.
pub(super) struct Ground {
    pub(super) audit: AuditLog,
    pub(super) watch: Arc<Watch>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) in_flight: Arc<InFlight>,
    pub(super) revocations: Arc<Revocations>,
    pub(super) store: Option<Arc<Store>>,
}

/// All rooms as one configuration has them. Where a room is as the configuration before had it, it is the same one; where it
/// is not, it has what is known of the same things: counts, proofs, keys.
pub(super) struct House {
    pub(super) gateway: Arc<Gateway>,
    pub(super) admin: Arc<Admin>,
    upstream: Fingerprint,
    revoked: Revoked,
    /// What each section says.
    pub(super) sections: BTreeMap<String, Fingerprint>,
}

/// A house, and what keeps it current.
pub(super) struct Built {
    pub(super) house: House,
    pub(super) jobs: Vec<Job>,
}

/// Where revocations come from.
#[derive(Clone, Default)]
struct Revoked {
    file: Option<Followed<PathBuf, FileStatus>>,
    set: Option<Followed<String, StoreStatus>>,
}

/// A source of revocations: its name, what it says, and how following it goes.
struct Followed<N, S> {
    name: N,
    part: Arc<Part>,
    status: Arc<S>,
}

impl<N: Clone, S> Clone for Followed<N, S> {
    fn clone(&self) -> Self {
        Self { name: self.name.clone(), part: Arc::clone(&self.part), status: Arc::clone(&self.status) }
    }
}

impl Ground {
    /// The shared store, if there is one; that it is connected is a job.
    pub(super) fn connect(config: Option<&StoreConfig>) -> Result<Option<Arc<Store>>, String> {
        let store = config.map(Store::new).transpose();
        store.map(|store| store.map(Arc::new)).map_err(|error| format!("the store cannot be used: {error}"))
    }
}

impl House {
    /// Makes the rooms of `config`, whose spans go to `spans`. Nothing of them is in force, and nothing of `before` is changed.
    ///
    /// # Errors
    /// Says what cannot be made.
    pub(super) fn build(
        config: Config,
        ground: &Ground,
        before: Option<&Self>,
        spans: Option<Arc<SpanTap>>,
    ) -> Result<Built, String> {
        let mut jobs = Vec::new();
        let was = before.map(|before| &before.gateway);
        let rules = log_rules(&config.audit);
        let listen = config.listen;
        let privacy = config.privacy.keep_key().map_err(|error| format!("the key of tags cannot be kept: {error}"))?;
        let kept = (config.audit.content == AuditContent::Masked).then_some(config.audit.content_limit);

        let tls = listen.tls.map(|tls| kept_tls(tls, was.and_then(|was| was.tls.as_ref())));
        if let Some(tls) = &tls {
            jobs.push(Job::new(Arc::clone(tls) as Subject, Arc::clone(tls).follow()));
        }
        let folder = Some(config.state_directory.clone());
        let (issuers, fetchers) = match was {
            Some(was) => was.issuers.succeeded_by(config.issuers, folder),
            None => Issuers::new(config.issuers, folder, CacheBounds::default()),
        };
        jobs.extend(fetchers.into_iter().map(fetching));
        let cut_streams = config.revocation.cut_streams;
        let (revoked, freshness) = follow(config.revocation, ground, before, &mut jobs);
        let limits = if let Some(was) = was {
            was.limits.succeeded_by(config.limits, config.prices)
        } else {
            let budgets = config.state_directory.join("budgets.json");
            Limits::new(config.limits, config.prices, ground.store.clone(), Some(budgets))
        };
        let counting = Arc::clone(&limits);
        jobs.push(Job::new(limits.subject(), async move { counting.upkeep().await }));
        if let Some(store) = ground.store.clone() {
            jobs.push(Job::new(Arc::clone(&store) as Subject, async move { store.upkeep().await }));
        }
        let fingerprint = config.upstream.fingerprint;
        let same = before.filter(|before| before.upstream == fingerprint).map(|before| &before.gateway);
        let upstream =
            same.map_or_else(|| Arc::new(Upstream::new(&config.upstream)), |same| Arc::clone(&same.upstream));
        let watch = Arc::clone(&ground.watch);
        jobs.push(Job::new(Arc::clone(&watch) as Subject, watch.run()));
        let resolving = Arc::clone(&upstream);
        jobs.push(Job::new(Arc::clone(&upstream) as Subject, async move { resolving.upkeep().await }));
        let keys = ring(config.upstream.keys, was, same.is_some());
        jobs.push(holding(&keys, &upstream));

        let issuers = Arc::new(issuers);
        let gateway = Gateway {
            header: listen.proxy_protocol.then(|| ProxyProtocol::new(&listen.trusted_proxies)),
            tls: tls.clone(),
            door: Arc::new(match was {
                Some(was) => was.door.succeeded_by(config.door.requests, config.door.refused_tokens),
                None => Door::new(config.door.requests, config.door.refused_tokens),
            }),
            issuers: Arc::clone(&issuers),
            revocations: Arc::clone(&ground.revocations),
            revocation_freshness: freshness.clone(),
            binder: Arc::new(match was {
                Some(was) => was.binder.succeeded_by(listen.origins),
                None => Binder::new(listen.origins),
            }),
            cut_streams,
            policy: config.policy,
            limits: Arc::clone(&limits),
            upstream: Arc::clone(&upstream),
            keys: Arc::clone(&keys),
            audit: ground.audit.seen_by(rules),
            listening: Listening::new(Listener::new(privacy, kept)),
            metrics: Arc::clone(&ground.metrics),
            tracer: spans
                .zip(config.telemetry.traces)
                .map(|(spans, traces)| Arc::new(Tracer::new(traces, listen.trusted_proxies.clone(), spans))),
            signals: ground.watch.signals.clone(),
            containments: Arc::clone(&ground.watch.containments),
            in_flight: Arc::clone(&ground.in_flight),
            body_memory: match was {
                Some(was) => was.body_memory.succeeded_by(listen.max_bodies),
                None => BodyMemory::new(listen.max_bodies),
            },
            bounds: Bounds {
                max_body: listen.max_body,
                max_upload: listen.max_upload,
                body_timeout: listen.body_timeout,
                trusted_proxies: listen.trusted_proxies,
            },
        };
        let admin = Admin {
            metrics: Arc::clone(&ground.metrics),
            readiness: Readiness { issuers, upstream, keys, audit: ground.audit.clone(), revocations: freshness },
            in_flight: Arc::clone(&ground.in_flight),
            body_memory: Arc::clone(&gateway.body_memory),
            revocations: Arc::clone(&ground.revocations),
            revocation_file: revoked.file.as_ref().map(|file| Arc::clone(&file.status)),
            revocation_set: revoked.set.as_ref().map(|set| Arc::clone(&set.status)),
            limits,
            binder: Arc::clone(&gateway.binder),
            signals: ground.watch.signals.clone(),
            containments: Arc::clone(&ground.watch.containments),
            tls,
        };
        let house = Self {
            gateway: Arc::new(gateway),
            admin: Arc::new(admin),
            upstream: fingerprint,
            revoked,
            sections: config.sections,
        };
        Ok(Built { house, jobs })
    }

    /// Puts the house's revocations in force, all at once.
    pub(super) fn enforce_revocations(&self) {
        let part = |followed: &Arc<Part>| Arc::clone(followed);
        let file = self.revoked.file.as_ref().map(|file| part(&file.part));
        let set = self.revoked.set.as_ref().map(|set| part(&set.part));
        self.gateway.revocations.adopt(file, set);
    }

    /// Whether revocations come from where those of `before` do.
    pub(super) fn has_revocations_of(&self, before: &Self) -> bool {
        let same = |own: Option<&Arc<Part>>, other: Option<&Arc<Part>>| match (own, other) {
            (Some(own), Some(other)) => Arc::ptr_eq(own, other),
            (own, other) => own.is_none() && other.is_none(),
        };
        let file = |house: &Self| house.revoked.file.as_ref().map(|file| Arc::clone(&file.part));
        let set = |house: &Self| house.revoked.set.as_ref().map(|set| Arc::clone(&set.part));
        same(file(self).as_ref(), file(before).as_ref()) && same(set(self).as_ref(), set(before).as_ref())
    }

    /// What calls would miss that come after those of `before`; empty when this may take its place.
    pub(super) fn missing(&self, before: &Self) -> Vec<String> {
        let (own, other) = (&self.gateway, &before.gateway);
        let mut missing = Vec::new();
        missing.extend(
            own.issuers.lacking_keys(&other.issuers).into_iter().map(|name| format!("the keys of issuer {name}")),
        );
        if !Arc::ptr_eq(&own.upstream, &other.upstream) && !own.upstream.is_ready() {
            missing.push("an upstream address".to_owned());
        }
        if !Arc::ptr_eq(&own.keys, &other.keys) && !own.keys.is_ready() {
            missing.push("an upstream key".to_owned());
        }
        let is_read = |set: &Followed<String, StoreStatus>| set.status.age().is_some();
        if self.revoked.set.as_ref().is_some_and(|set| !is_read(set)) {
            missing.push("the revocations of the store".to_owned());
        }
        missing
    }

    /// The sections that differ from those of `before`, and those that only one of them has.
    pub(super) fn changed_sections(sections: &BTreeMap<String, Fingerprint>, before: &Self) -> Vec<String> {
        let differs = |name: &&String| sections.get(*name) != before.sections.get(*name);
        let names: std::collections::BTreeSet<_> = sections.keys().chain(before.sections.keys()).collect();
        names.into_iter().filter(differs).cloned().collect()
    }
}

/// How the log is kept, of what may change.
pub(super) fn log_rules(config: &AuditConfig) -> LogRules {
    LogRules {
        durability: config.durability,
        on_failure: config.on_audit_failure,
        commit_interval: config.commit_interval,
        checkpoint_interval: config.checkpoint_interval,
        segment_size: config.segment_size,
        segment_age: config.segment_age,
    }
}

/// What is in force of the same files: it follows them.
fn kept_tls(new: Arc<ListenerTls>, before: Option<&Arc<ListenerTls>>) -> Arc<ListenerTls> {
    before.filter(|before| before.sources() == new.sources()).map_or(new, Arc::clone)
}

fn fetching(fetcher: KeyFetcher) -> Job {
    Job::new(fetcher.subject(), async move { fetcher.run().await })
}

/// The ring of these keys: the very one of before where they and the way to the upstream are the same.
fn ring(keys: Vec<NamedKey>, was: Option<&Arc<Gateway>>, same_upstream: bool) -> Arc<KeyRing> {
    let Some(was) = was else { return Arc::new(KeyRing::new(keys)) };
    let ring = was.keys.succeeded_by(keys);
    if same_upstream && ring.is_as(&was.keys) { Arc::clone(&was.keys) } else { Arc::new(ring) }
}

fn holding(keys: &Arc<KeyRing>, upstream: &Arc<Upstream>) -> Job {
    let (ring, upstream) = (Arc::clone(keys), Arc::clone(upstream));
    Job::new(Arc::clone(keys) as Subject, async move { ring.upkeep(|request| upstream.ask(request)).await })
}

/// Follows the sources of revocations; one that was followed already goes on.
fn follow(
    config: RevocationConfig,
    ground: &Ground,
    before: Option<&House>,
    jobs: &mut Vec<Job>,
) -> (Revoked, Option<Freshness>) {
    let was = before.map(|before| before.revoked.clone()).unwrap_or_default();
    let file = config.file.map(|file| {
        if let Some(same) = was.file.filter(|was| was.name == file.path()) {
            jobs.push(Job::going_on(Arc::clone(&same.part) as Subject));
            return same;
        }
        let name = file.path().to_owned();
        let follower = file.follow(Arc::clone(&ground.revocations));
        let source = Followed { name, part: follower.part(), status: follower.status() };
        jobs.push(Job::new(follower.part() as Subject, follower.run()));
        source
    });
    let set = config.store_key.zip(ground.store.clone()).map(|(key, store)| {
        if let Some(same) = was.set.filter(|was| was.name == key) {
            jobs.push(Job::going_on(Arc::clone(&same.part) as Subject));
            return same;
        }
        let follower = StoreFollower::new(store, key.clone(), Arc::clone(&ground.revocations));
        let source = Followed { name: key, part: follower.part(), status: follower.status() };
        jobs.push(Job::new(follower.part() as Subject, follower.run()));
        source
    });
    let closed = config.on_store_failure == OnStoreFailure::Closed;
    let freshness = set.as_ref().filter(|_| closed);
    let freshness = freshness.map(|set| Freshness { set: Arc::clone(&set.status), most: config.max_staleness });
    (Revoked { file, set }, freshness)
}

#[cfg(test)]
mod tests;
