//! The memory that records may take while they wait for the disk.

use tokio::sync::{Semaphore, SemaphorePermit};

/// Room for records, from when they are handed over until they are on disk or withdrawn.
pub(super) struct Room(Semaphore);

/// Bytes of all records that wait. Ordinary ones are bounded by their number before.
pub(super) const BUDGET: usize = 64 << 20;
/// Room is counted in pieces of so many bytes.
const UNIT: usize = 1024;

impl Default for Room {
    fn default() -> Self {
        Self(Semaphore::new(BUDGET / UNIT))
    }
}

impl Room {
    /// Waits for this much room. Whoever hands a record over forgets the permit; the writer gives the room back.
    /// `None` when the log has ended.
    pub(super) async fn take(&self, units: u32) -> Option<SemaphorePermit<'_>> {
        self.0.acquire_many(units).await.ok()
    }

    /// Takes this much room if it is there.
    pub(super) fn try_take(&self, units: u32) -> Option<SemaphorePermit<'_>> {
        self.0.try_acquire_many(units).ok()
    }

    /// Gives room back.
    pub(super) fn give_back(&self, units: usize) {
        self.0.add_permits(units);
    }

    /// There is no more to wait for.
    pub(super) fn close(&self) {
        self.0.close();
    }

    #[cfg(test)]
    pub(super) fn available_bytes(&self) -> usize {
        self.0.available_permits() * UNIT
    }
}

/// The room that a record takes, all of its allocation.
#[allow(clippy::ptr_arg)] // its capacity is asked for
pub(super) fn units(record: &Vec<u8>) -> u32 {
    u32::try_from(record.capacity().div_ceil(UNIT)).unwrap_or(u32::MAX)
}
