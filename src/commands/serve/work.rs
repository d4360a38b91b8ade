//! Tasks beside the requests: each keeps something current, and ends when nothing in force needs it.

use std::any::Any;
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::task::AbortHandle;

/// What is to be kept current. While anybody holds it, its address is no other's.
pub(super) type Subject = Arc<dyn Any + Send + Sync>;

/// What keeps a subject current, for as long as it is polled.
pub(super) struct Job {
    of: Subject,
    /// `None` where a task has it in its hands already.
    run: Option<BoxFuture<'static, ()>>,
}

impl Job {
    /// A job that is begun if no task has its subject.
    pub(super) fn new(of: Subject, run: impl Future<Output = ()> + Send + 'static) -> Self {
        Self { of, run: Some(run.boxed()) }
    }

    /// A job that goes on.
    pub(super) fn going_on(of: Subject) -> Self {
        Self { of, run: None }
    }
}

/// A task that ends with this value.
struct Task {
    of: Subject,
    handle: AbortHandle,
}

/// The tasks of one configuration. Some may be those of another one too.
#[derive(Default)]
pub(super) struct Work(Vec<Arc<Task>>);

impl Work {
    /// Begins what nothing of this is at already. The rest of this goes on until it is dropped. To be called on the runtime that
    /// is to run the tasks.
    pub(super) fn succeeded_by(&self, jobs: Vec<Job>) -> Self {
        Self(jobs.into_iter().filter_map(|job| self.task(job)).collect())
    }

    fn task(&self, Job { of, run }: Job) -> Option<Arc<Task>> {
        let address = |subject: &Subject| Arc::as_ptr(subject).cast::<()>().addr();
        if let Some(same) = self.0.iter().find(|task| address(&task.of) == address(&of)) {
            return Some(Arc::clone(same));
        }
        let handle = tokio::spawn(run?).abort_handle();
        Some(Arc::new(Task { of, handle }))
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.handle.abort();
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;

    fn job(of: &Arc<u8>) -> Job {
        Job::new(Arc::clone(of) as Subject, pending())
    }

    #[tokio::test]
    async fn what_stays_goes_on_and_what_goes_ends() {
        let alive = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
        let (one, two, three) = (Arc::new(1), Arc::new(2), Arc::new(3));
        let mut work = Work::default().succeeded_by(vec![job(&one), job(&two)]);
        let first = work.0[0].handle.id();
        let next = work.succeeded_by(vec![job(&three), Job::going_on(Arc::clone(&one) as Subject)]);
        assert_eq!(next.0[1].handle.id(), first);
        assert_eq!(alive(), 3, "both are at work until the older one is dropped");
        work = next;
        tokio::task::yield_now().await;
        assert_eq!(alive(), 2);
        assert_eq!((Arc::strong_count(&two), Arc::strong_count(&one)), (1, 2), "nothing holds what is not needed");
        // One that is given up before it comes into force.
        drop(work.succeeded_by(vec![job(&one), job(&two)]));
        tokio::task::yield_now().await;
        assert_eq!(alive(), 2);
    }
}
