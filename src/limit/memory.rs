//! The memory that request bodies may take, all together.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A bound on bytes that are held at one time.
#[derive(Debug)]
pub struct BodyMemory {
    bound: usize,
    held: Arc<AtomicUsize>,
}

/// Bytes that are held, given back when dropped.
#[derive(Debug)]
pub struct Held {
    memory: Arc<BodyMemory>,
    bytes: usize,
}

impl BodyMemory {
    /// A bound of `bound` bytes.
    pub fn new(bound: usize) -> Arc<Self> {
        Arc::new(Self { bound, held: Arc::default() })
    }

    /// Another bound on the same bytes: what is held under this one counts there too.
    #[must_use]
    pub fn succeeded_by(&self, bound: usize) -> Arc<Self> {
        Arc::new(Self { bound, held: Arc::clone(&self.held) })
    }

    /// Holds nothing yet.
    pub fn hold(self: &Arc<Self>) -> Held {
        Held { memory: Arc::clone(self), bytes: 0 }
    }

    /// Bytes that are held now.
    pub fn held(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }
}

impl Held {
    /// Holds `bytes` more; `false`, and nothing changed, when the bound would be passed.
    #[must_use]
    pub fn grow(&mut self, bytes: usize) -> bool {
        let within = |held: usize| held.checked_add(bytes).filter(|&total| total <= self.memory.bound);
        let grown = self.memory.held.fetch_update(Ordering::Relaxed, Ordering::Relaxed, within).is_ok();
        if grown {
            self.bytes += bytes;
        }
        grown
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.memory.held.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_than_the_bound_is_held_and_all_of_it_comes_back() {
        let memory = BodyMemory::new(100);
        let mut first = memory.hold();
        assert!(first.grow(60));
        let mut second = memory.hold();
        assert!(second.grow(40));
        assert!(!second.grow(1));
        assert!(!second.grow(usize::MAX));
        drop(first);
        assert!(second.grow(60));
        drop(second);
        assert_eq!(memory.held(), 0);
    }

    #[test]
    fn what_is_held_counts_under_another_bound() {
        let memory = BodyMemory::new(100);
        let mut first = memory.hold();
        assert!(first.grow(60));
        let narrower = memory.succeeded_by(70);
        assert!(!narrower.hold().grow(11));
        assert!(narrower.hold().grow(10));
        drop(first);
        assert_eq!((narrower.held(), narrower.hold().grow(70)), (0, true));
    }

    #[test]
    fn threads_together_never_hold_more_than_the_bound() {
        let memory = BodyMemory::new(1000);
        let granted: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8)
                .map(|_| {
                    scope.spawn(|| {
                        let holds: Vec<Held> = (0..100)
                            .filter_map(|_| {
                                let mut held = memory.hold();
                                held.grow(7).then_some(held)
                            })
                            .collect();
                        let count = holds.len();
                        std::mem::forget(holds);
                        count
                    })
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(granted, 1000 / 7);
    }
}
