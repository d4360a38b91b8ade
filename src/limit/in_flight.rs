//! Requests under way: counted, so that a stop can wait for the last of them, and told when they must end.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;

/// The requests under way.
#[derive(Debug, Default)]
pub struct InFlight {
    count: Mutex<usize>,
    changed: Condvar,
    /// They must end.
    is_cut: AtomicBool,
    told: Arc<Notify>,
}

/// One request under way, until dropped.
#[derive(Debug)]
pub struct InFlightGuard(Arc<InFlight>);

/// Waits until requests under way must end.
#[derive(Debug)]
pub struct CutWatch {
    in_flight: Arc<InFlight>,
    /// The task that waits, and its place among all that do.
    waiting: Option<(Waker, Pin<Box<OwnedNotified>>)>,
}

impl InFlight {
    /// Counts one more, until the guard is dropped.
    pub fn enter(self: &Arc<Self>) -> InFlightGuard {
        *self.count.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        InFlightGuard(Arc::clone(self))
    }

    /// How many are under way.
    pub fn count(&self) -> usize {
        *self.count.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Blocks until none is under way, `within` at most. Returns how many are left.
    pub fn wait_for_none(&self, within: Duration) -> usize {
        let end = Instant::now() + within;
        let mut count = self.count.lock().unwrap_or_else(PoisonError::into_inner);
        while *count > 0 {
            let Some(left) = end.checked_duration_since(Instant::now()) else { break };
            count = self.changed.wait_timeout(count, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        *count
    }

    /// Tells all that are under way, and all to come, to end.
    pub fn cut(&self) {
        self.is_cut.store(true, Ordering::Release);
        self.told.notify_waiters();
    }

    /// Whether they must end.
    pub fn is_cut(&self) -> bool {
        self.is_cut.load(Ordering::Acquire)
    }

    /// For a request, to notice that it must end.
    pub fn watch(self: &Arc<Self>) -> CutWatch {
        CutWatch { in_flight: Arc::clone(self), waiting: None }
    }
}

impl CutWatch {
    /// Returns when the request must end. May be dropped and called again, which costs a look at a flag.
    pub async fn cut(&mut self) {
        poll_fn(|context| self.poll_cut(context)).await;
    }

    fn poll_cut(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if self.in_flight.is_cut() {
            return Poll::Ready(());
        }
        // A request is one task from its begin to its end: it takes its place once, not with every piece of an answer.
        if self.waiting.as_ref().is_some_and(|(waker, _)| waker.will_wake(context.waker())) {
            return Poll::Pending;
        }
        let mut told = match self.waiting.take() {
            Some((_, told)) => told,
            None => Box::pin(Arc::clone(&self.in_flight.told).notified_owned()),
        };
        let polled = told.as_mut().poll(context);
        self.waiting = Some((context.waker().clone(), told));
        // Who was told before it had its place sees the flag.
        if polled.is_ready() || self.in_flight.is_cut() { Poll::Ready(()) } else { Poll::Pending }
    }
}

impl Drop for InFlightGuard {
    fn drop(&mut self) {
        let mut count = self.0.count.lock().unwrap_or_else(PoisonError::into_inner);
        *count -= 1;
        if *count == 0 {
            self.0.changed.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn waits_for_the_last_and_no_longer_than_told() {
        let in_flight = Arc::<InFlight>::default();
        assert_eq!(in_flight.wait_for_none(Duration::from_secs(60)), 0);
        let guard = in_flight.enter();
        assert_eq!(in_flight.wait_for_none(Duration::from_millis(1)), 1);
        let thread = std::thread::spawn(move || drop(guard));
        assert_eq!(in_flight.wait_for_none(Duration::from_secs(60)), 0);
        thread.join().unwrap();
    }

    #[tokio::test]
    async fn who_waits_and_who_comes_later_is_told_to_end() {
        let in_flight = Arc::<InFlight>::default();
        let tasks: Vec<_> = (0..100)
            .map(|_| {
                let mut watch = in_flight.watch();
                tokio::spawn(async move {
                    for _ in 0..3 {
                        assert_eq!(watch.cut().now_or_never(), None); // with a waker of its own
                        tokio::select! {
                            biased;
                            () = watch.cut() => panic!("nobody has said so"),
                            () = tokio::task::yield_now() => {} // what is waited for besides
                        }
                    }
                    watch.cut().await;
                    watch.cut().await; // it stays so
                })
            })
            .collect();
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        assert!(tasks.iter().all(|task| !task.is_finished()) && !in_flight.is_cut());
        in_flight.cut();
        for task in tasks {
            tokio::time::timeout(Duration::from_secs(10), task).await.unwrap().unwrap();
        }
        assert_eq!(in_flight.watch().cut().now_or_never(), Some(()));
    }

    #[tokio::test]
    async fn a_watch_that_moves_to_another_task_wakes_that_one() {
        let in_flight = Arc::<InFlight>::default();
        let mut watch = in_flight.watch();
        let first = tokio::spawn(async move {
            assert_eq!(futures_util::poll!(std::pin::pin!(watch.cut())), Poll::Pending);
            watch
        });
        let mut watch = first.await.unwrap();
        let second = tokio::spawn(async move { watch.cut().await });
        tokio::task::yield_now().await;
        in_flight.cut();
        tokio::time::timeout(Duration::from_secs(10), second).await.unwrap().unwrap();
    }
}
