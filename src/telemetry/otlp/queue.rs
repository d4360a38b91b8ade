//! What is on its way to the export: bounded in bytes and in number, and never waited for.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::mpsc;

use crate::telemetry::OtlpMetrics;

/// Most records or spans that wait.
pub(super) const MAX_WAITING: usize = 16_384;

/// What waits, or is being sent.
struct Held {
    count: AtomicUsize,
    bytes: AtomicUsize,
    metrics: OtlpMetrics,
}

/// The end that whoever has something to send has.
pub(super) struct Tap<T> {
    groups: mpsc::Sender<Group<T>>,
    held: Arc<Held>,
    max_bytes: usize,
}

/// The other end.
pub(super) struct Groups<T>(mpsc::Receiver<Group<T>>);

/// What was handed over at once. Its room is free again when this is dropped.
pub(super) struct Group<T> {
    content: T,
    count: usize,
    bytes: usize,
    held: Arc<Held>,
}

/// A queue of at most `max_bytes`.
pub(super) fn queue<T>(max_bytes: usize, metrics: OtlpMetrics) -> (Tap<T>, Groups<T>) {
    let (sender, receiver) = mpsc::channel(MAX_WAITING);
    let held = Arc::new(Held { count: AtomicUsize::new(0), bytes: AtomicUsize::new(0), metrics });
    (Tap { groups: sender, held, max_bytes }, Groups(receiver))
}

impl<T> Tap<T> {
    /// How many may come, and of how many bytes together.
    pub(super) fn room(&self) -> (usize, usize) {
        (
            MAX_WAITING.saturating_sub(self.held.count.load(Ordering::Relaxed)),
            self.max_bytes.saturating_sub(self.held.bytes.load(Ordering::Relaxed)),
        )
    }

    /// Hands over `count` records or spans that take `bytes` and that there was room for. Never blocks. Where two do so
    /// at once, both may go in, one above the bound.
    pub(super) fn put(&self, content: T, count: usize, bytes: usize) {
        // Only fails when the export has ended, or when there are more groups than may wait, which cannot be.
        if self.groups.try_send(Group::hold(content, count, bytes, &self.held)).is_err() {
            self.lost(count);
        }
    }

    /// Counts what there was no room for.
    pub(super) fn lost(&self, count: usize) {
        self.held.metrics.dropped.inc_by(count as u64);
    }
}

impl<T> Groups<T> {
    /// The next group, once there is one; `None` when no more can come.
    pub(super) async fn next(&mut self) -> Option<Group<T>> {
        self.0.recv().await
    }

    /// The next group, if it is there.
    pub(super) fn next_now(&mut self) -> Option<Group<T>> {
        self.0.try_recv().ok()
    }

    /// Takes no more, and counts what waits as dropped.
    pub(super) fn close(mut self) {
        self.0.close();
        while let Some(group) = self.next_now() {
            group.held.metrics.dropped.inc_by(group.count as u64);
        }
    }
}

impl<T> Group<T> {
    fn hold(content: T, count: usize, bytes: usize, held: &Arc<Held>) -> Self {
        held.count.fetch_add(count, Ordering::Relaxed);
        held.bytes.fetch_add(bytes, Ordering::Relaxed);
        held.show();
        Self { content, count, bytes, held: Arc::clone(held) }
    }

    /// How many records or spans.
    pub(super) fn len(&self) -> usize {
        self.count
    }

    /// What was handed over.
    pub(super) fn content(&self) -> &T {
        &self.content
    }
}

impl<T> Drop for Group<T> {
    fn drop(&mut self) {
        self.held.count.fetch_sub(self.count, Ordering::Relaxed);
        self.held.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
        self.held.show();
    }
}

impl Held {
    fn show(&self) {
        let shown = |count: &AtomicUsize| i64::try_from(count.load(Ordering::Relaxed)).unwrap_or(i64::MAX);
        self.metrics.queued.set(shown(&self.count));
        self.metrics.queued_bytes.set(shown(&self.bytes));
    }
}
