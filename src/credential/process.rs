//! What keeps the memory of this process, and so the keys in it, to itself.

use std::io;

use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};

/// Makes the process leave no core dump, whatever the host's `kernel.core_pattern` is, and lets no other process of this
/// user attach to it or read its memory (`PR_SET_DUMPABLE` in prctl(2), `RLIMIT_CORE` in setrlimit(2)). Neither can be
/// taken back by this user. Children that execute another program are dumpable again, and inherit the limit.
///
/// Without root the process cannot list `/proc/self/fd` from here on: the folder belongs to root then (proc(5)).
///
/// # Errors
/// The system's, when it refuses.
pub fn keep_from_core_dumps() -> io::Result<()> {
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use rustix::process::{dumpable_behavior, getrlimit};

    use super::*;

    #[test]
    fn the_process_leaves_no_core_dump() {
        keep_from_core_dumps().unwrap();
        assert_eq!(dumpable_behavior().unwrap(), DumpableBehavior::NotDumpable);
        assert_eq!(getrlimit(Resource::Core), Rlimit { current: Some(0), maximum: Some(0) });
    }
}
