//! Lines on their way from the audit log's writer to the export: bounded in bytes and in number, and never waited for.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::mpsc;

use crate::telemetry::OtlpMetrics;

/// Most lines that wait.
pub(super) const MAX_LINES: usize = 16_384;

/// What waits, or is being sent.
struct Held {
    lines: AtomicUsize,
    bytes: AtomicUsize,
    metrics: OtlpMetrics,
}

/// The end that the writer of the audit log has.
pub struct LogTap {
    groups: mpsc::Sender<Group>,
    held: Arc<Held>,
    max_bytes: usize,
}

/// The other end.
pub(super) struct Groups(mpsc::Receiver<Group>);

/// Whole lines. Their room is free again when this is dropped.
pub(super) struct Group {
    text: Vec<u8>,
    lines: usize,
    held: Arc<Held>,
}

/// A queue of at most `max_bytes`.
pub(super) fn queue(max_bytes: usize, metrics: OtlpMetrics) -> (LogTap, Groups) {
    let (sender, receiver) = mpsc::channel(MAX_LINES);
    let held = Arc::new(Held { lines: AtomicUsize::new(0), bytes: AtomicUsize::new(0), metrics });
    (LogTap { groups: sender, held, max_bytes }, Groups(receiver))
}

impl LogTap {
    /// Takes whole lines, each with its newline. What there is no room for is dropped and counted. Never blocks.
    pub fn offer(&self, lines: &[u8]) {
        let room = MAX_LINES.saturating_sub(self.held.lines.load(Ordering::Relaxed));
        let room_bytes = self.max_bytes.saturating_sub(self.held.bytes.load(Ordering::Relaxed));
        let (mut taken, mut count, mut end) = (0, 0, 0);
        for newline in memchr::memchr_iter(b'\n', lines) {
            end += 1;
            if end <= room && newline < room_bytes {
                (taken, count) = (newline + 1, end);
            }
        }
        let mut lost = end - count;
        if let Some(text) = lines.get(..taken).filter(|text| !text.is_empty()) {
            let group = Group::hold(text.to_vec(), count, &self.held);
            // Only fails when the export has ended, or there are more groups than lines, which cannot be.
            if self.groups.try_send(group).is_err() {
                lost = end;
            }
        }
        self.held.metrics.dropped.inc_by(lost as u64);
    }
}

impl Groups {
    /// The next lines, once there are some; `None` when no more can come.
    pub(super) async fn next(&mut self) -> Option<Group> {
        self.0.recv().await
    }

    /// The next lines, if they are there.
    pub(super) fn next_now(&mut self) -> Option<Group> {
        self.0.try_recv().ok()
    }

    /// Takes no more, and counts what waits as dropped.
    pub(super) fn close(mut self) {
        self.0.close();
        while let Some(group) = self.next_now() {
            group.held.metrics.dropped.inc_by(group.lines as u64);
        }
    }
}

impl Group {
    fn hold(text: Vec<u8>, lines: usize, held: &Arc<Held>) -> Self {
        held.lines.fetch_add(lines, Ordering::Relaxed);
        held.bytes.fetch_add(text.len(), Ordering::Relaxed);
        let group = Self { text, lines, held: Arc::clone(held) };
        group.held.show();
        group
    }

    /// How many lines.
    pub(super) fn len(&self) -> usize {
        self.lines
    }

    /// The lines without their newlines.
    pub(super) fn lines(&self) -> impl Iterator<Item = &[u8]> {
        self.text.split(|&byte| byte == b'\n').filter(|line| !line.is_empty())
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.held.lines.fetch_sub(self.lines, Ordering::Relaxed);
        self.held.bytes.fetch_sub(self.text.len(), Ordering::Relaxed);
        self.held.show();
    }
}

impl Held {
    fn show(&self) {
        let shown = |count: &AtomicUsize| i64::try_from(count.load(Ordering::Relaxed)).unwrap_or(i64::MAX);
        self.metrics.queued.set(shown(&self.lines));
        self.metrics.queued_bytes.set(shown(&self.bytes));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::Metrics;

    #[test]
    fn what_there_is_no_room_for_is_counted_and_room_comes_back() {
        let metrics = Metrics::new().unwrap().otlp;
        let (tap, mut groups) = queue(20, metrics.clone());
        tap.offer(b"one\ntwo\nthree\n");
        assert_eq!((metrics.queued.get(), metrics.queued_bytes.get(), metrics.dropped.get()), (3, 14, 0));
        tap.offer(b"four\nfive\n"); // six bytes are left
        assert_eq!((metrics.queued.get(), metrics.dropped.get()), (4, 1));
        let group = groups.next_now().unwrap();
        assert_eq!(group.lines().collect::<Vec<_>>(), [b"one".as_slice(), b"two", b"three"]);
        drop(group);
        assert_eq!((metrics.queued.get(), metrics.queued_bytes.get()), (1, 5));
        groups.close();
        assert_eq!((metrics.queued.get(), metrics.dropped.get()), (0, 2));
        tap.offer(b"late\n");
        assert_eq!((metrics.queued.get(), metrics.dropped.get()), (0, 3));
    }

    #[test]
    fn lines_are_bounded_in_number_too() {
        let metrics = Metrics::new().unwrap().otlp;
        let (tap, _groups) = queue(1 << 30, metrics.clone());
        tap.offer(&b"x\n".repeat(MAX_LINES + 5));
        assert_eq!((metrics.queued.get(), metrics.dropped.get()), (16_384, 5));
    }
}
