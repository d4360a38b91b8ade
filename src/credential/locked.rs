//! Memory for what is held as long as the process runs: kept out of swap where the system permits, wiped when dropped.

use std::fmt;
use std::sync::Once;

use region::LockGuard;
use zeroize::Zeroize;

/// Bytes on pages of their own. The system locks whole pages and counts no locks: on a page that two shared, the first to
/// be dropped would unlock both.
pub(super) struct LockedBytes {
    /// Before `pages`, for fields are dropped in their order: pages are unlocked while they are still ours.
    _lock: Option<LockGuard>,
    pages: Vec<u8>,
    /// Where the first page begins in `pages`, and the bytes with it.
    from: usize,
    length: usize,
}

impl LockedBytes {
    /// Copies `parts`, one after the other. Where locking is refused (`RLIMIT_MEMLOCK` in setrlimit(2)), the bytes may be
    /// swapped out, which is told once.
    pub(super) fn new(parts: &[&[u8]]) -> Self {
        let page = region::page::size();
        let length = parts.iter().map(|part| part.len()).sum::<usize>();
        // One page more than is needed, for the allocation may begin anywhere; it never grows, so it never moves.
        let mut pages = vec![0; length.max(1).next_multiple_of(page) + page];
        let from = pages.as_ptr().align_offset(page).min(page);
        let lock = region::lock(pages.as_ptr().wrapping_add(from), length.max(1));
        for (place, byte) in pages.iter_mut().skip(from).zip(parts.iter().copied().flatten()) {
            *place = *byte;
        }
        let lock = lock.inspect_err(tell).ok();
        Self { _lock: lock, pages, from, length }
    }

    fn wipe(&mut self) {
        self.pages.as_mut_slice().zeroize();
    }
}

fn tell(refusal: &region::Error) {
    static TOLD: Once = Once::new();
    TOLD.call_once(|| {
        tracing::info!(%refusal, "keys cannot be kept out of swap; LimitMEMLOCK= or CAP_IPC_LOCK permits it");
    });
}

impl AsRef<[u8]> for LockedBytes {
    fn as_ref(&self) -> &[u8] {
        self.pages.get(self.from..self.from + self.length).unwrap_or_default()
    }
}

impl Drop for LockedBytes {
    fn drop(&mut self) {
        self.wipe();
    }
}

impl fmt::Debug for LockedBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LockedBytes(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    static_assertions::assert_not_impl_any!(LockedBytes: fmt::Display, Clone, serde::Serialize);

    #[test]
    fn bytes_lie_on_pages_that_nothing_else_is_on() {
        let page = region::page::size();
        for length in [0, 1, page - 1, page, page + 1, 3 * page] {
            let secret = vec![b'k'; length];
            let locked = LockedBytes::new(&[b"a ", &secret]);
            assert_eq!(locked.as_ref(), [b"a ".as_slice(), &secret].concat());
            assert_eq!(locked.as_ref().as_ptr().align_offset(page), 0);
            assert!(locked.pages.len() - locked.from >= (length + 2).next_multiple_of(page), "{length}");
        }
    }

    #[test]
    fn what_is_dropped_is_wiped_before() {
        let mut locked = LockedBytes::new(&[b"sk-ant-real"]);
        locked.wipe(); // all that `drop` does
        assert_eq!(locked.as_ref(), [0; 11]);
        assert!(locked.pages.iter().all(|&byte| byte == 0));
    }

    #[test]
    fn debug_output_has_nothing_of_the_bytes() {
        assert_eq!(format!("{:?}", LockedBytes::new(&[b"sk-ant-real"])), "LockedBytes(..)");
    }
}
