//! Listens to what is said without holding up the requests that a thread serves.

use std::num::NonZero;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::Semaphore;

use crate::claude::{Shape, Unreadable};
use crate::denial::Denial;
use crate::privacy::{AnswerWords, Listener, Said};

/// The listener, at its place beside the requests: what is long is listened to on other threads, as many at one time as there
/// are cores. What waits is bounded by the memory for bodies.
pub struct Listening {
    listener: Arc<Listener>,
    requests: Arc<Semaphore>,
    /// Apart, so that no end waits for what others ask.
    answers: Arc<Semaphore>,
}

/// Bytes that take about as long to listen to as it takes to hand them to another thread and back.
const LISTENED_AT_ONCE: usize = 64 << 10;

impl Listening {
    /// Listens by `listener`.
    pub fn new(listener: Listener) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
        let room = || Arc::new(Semaphore::new(cores));
        Self { listener: Arc::new(listener), requests: room(), answers: room() }
    }

    /// For what is listened to as it comes.
    pub(super) fn listener(&self) -> &Listener {
        &self.listener
    }

    /// What a body of `shape` says.
    ///
    /// # Errors
    /// [`Denial::BodyMalformed`] when that cannot be read.
    pub(super) async fn request(&self, body: &Bytes, shape: Shape) -> Result<Said, Denial> {
        let unreadable = |unreadable: Unreadable| Denial::BodyMalformed(unreadable.to_string());
        if body.len() <= LISTENED_AT_ONCE {
            return self.listener.request(body, shape).map_err(unreadable);
        }
        let (listener, body) = (Arc::clone(&self.listener), body.clone());
        let heard = aside(&self.requests, move || listener.request(&body, shape)).await;
        heard.ok_or_else(|| Denial::Internal("the body could not be listened to".to_owned()))?.map_err(unreadable)
    }

    /// Ends listening to an answer: the keyed hash of its words, and what of them is kept.
    pub(super) async fn conclude(&self, words: AnswerWords) -> (Option<String>, Option<String>) {
        if words.collected_bytes() <= LISTENED_AT_ONCE {
            return self.listener.conclude(words);
        }
        let listener = Arc::clone(&self.listener);
        let kept = aside(&self.answers, move || listener.conclude(words)).await;
        kept.unwrap_or_else(|| {
            tracing::error!("an answer could not be listened to, and is not kept");
            (None, None)
        })
    }
}

/// Does `work` on a thread for such, once there is room; it keeps its room to its end, also when nobody waits for it any more.
/// `None` after a panic, whose message may repeat what was being read.
async fn aside<T: Send + 'static>(room: &Arc<Semaphore>, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let place = Arc::clone(room).acquire_owned().await.ok()?;
    let work = move || {
        let _place = place;
        work()
    };
    tokio::task::spawn_blocking(work).await.ok()
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use serde_json::json;

    use super::*;
    use crate::claude::AnswerText;
    use crate::credential::Secret;
    use crate::privacy::{Detectors, Masker, Privacy, PromptRule, TagKey};

    fn listening() -> Listening {
        let masker = Masker::new(Detectors::default(), TagKey::new(&Secret::new(b"tests".to_vec())));
        Listening::new(Listener::new(Privacy::new(masker, PromptRule::default(), None), Some(256 << 10)))
    }

    fn body(bytes: usize) -> Bytes {
        json!({"model": "m", "messages": [{"role": "user", "content": "x".repeat(bytes)}]}).to_string().into()
    }

    fn words(listening: &Listening, bytes: usize) -> AnswerWords {
        let mut words = listening.listener().answer();
        words.take(listening.listener(), AnswerText::Text, &"x".repeat(bytes), 0);
        words
    }

    #[tokio::test]
    async fn what_is_long_is_listened_to_elsewhere_and_says_the_same() {
        let listening = listening();
        assert!(listening.request(&body(1000), Shape::Message).now_or_never().is_some());
        assert!(listening.conclude(words(&listening, 1000)).now_or_never().is_some());
        let long = body(LISTENED_AT_ONCE);
        let said = listening.request(&long, Shape::Message).await.unwrap();
        assert_eq!(said, listening.listener().request(&long, Shape::Message).unwrap());
        let room = u32::try_from(listening.answers.available_permits()).unwrap();
        let taken = Arc::clone(&listening.answers).acquire_many_owned(room).await.unwrap();
        let mut concluded = Box::pin(listening.conclude(words(&listening, 100_000)));
        assert!(concluded.as_mut().now_or_never().is_none(), "not on this thread");
        drop(taken);
        assert_eq!(concluded.await, listening.listener().conclude(words(&listening, 100_000)));
    }

    #[tokio::test]
    async fn no_more_is_listened_to_at_once_than_there_are_cores() {
        let listening = listening();
        let room = listening.requests.available_permits();
        let taken = Arc::clone(&listening.requests).acquire_many_owned(room.try_into().unwrap()).await.unwrap();
        let long = body(LISTENED_AT_ONCE);
        let mut waits = Box::pin(listening.request(&long, Shape::Message));
        for _ in 0..100 {
            assert!(waits.as_mut().now_or_never().is_none());
            tokio::task::yield_now().await;
        }
        assert!(listening.request(&body(10), Shape::Message).now_or_never().is_some(), "what is short does not wait");
        assert!(listening.conclude(words(&listening, 100_000)).await.0.is_some(), "nor does an end");
        drop(taken);
        assert!(waits.await.unwrap().hash.is_some());
        assert_eq!(listening.requests.available_permits(), room);
    }
}
