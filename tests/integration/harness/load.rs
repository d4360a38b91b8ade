//! Calls at a fixed rate, whether or not earlier ones have been answered.

use std::time::{Duration, Instant};

use reqwest::RequestBuilder;
use serde_json::Value;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use super::{HAIKU, Proxy, message};

/// A load that goes on until it is stopped.
pub struct Load {
    sent: watch::Receiver<usize>,
    stop: watch::Sender<bool>,
    calls: JoinHandle<Vec<Call>>,
}

/// A call that has ended.
#[derive(Debug)]
pub struct Call {
    /// `Err` with what the client saw when no answer came.
    pub answer: Result<(u16, Value), String>,
    pub took: Duration,
}

impl Load {
    /// Starts to send so many calls each second.
    pub fn start(proxy: &Proxy, per_second: u32) -> Self {
        Self::start_with(proxy, per_second, |request, _| request)
    }

    /// The same with what `change` makes of each call, by its number.
    pub fn start_with(
        proxy: &Proxy,
        per_second: u32,
        change: impl Fn(RequestBuilder, usize) -> RequestBuilder + Send + 'static,
    ) -> Self {
        let (stop, mut stopped) = watch::channel(false);
        let (sending, sent) = watch::channel(0);
        let request =
            proxy.request(reqwest::Method::POST, "/v1/messages", &proxy.token).body(message(HAIKU).to_string());
        let calls = tokio::spawn(async move {
            let mut beat = tokio::time::interval(Duration::from_secs(1) / per_second);
            let mut calls = JoinSet::new();
            for number in 0.. {
                tokio::select! {
                    _ = beat.tick() => {}
                    _ = stopped.changed() => break,
                }
                calls.spawn(call(change(request.try_clone().unwrap(), number)));
                sending.send_modify(|sent| *sent += 1);
            }
            calls.join_all().await
        });
        Self { sent, stop, calls }
    }

    /// Waits until so many more calls were sent.
    pub async fn goes_on(&mut self, calls: usize) {
        let until = *self.sent.borrow() + calls;
        self.sent.wait_for(|sent| *sent >= until).await.unwrap();
    }

    /// Stops and gives every call.
    pub async fn stop(self) -> Vec<Call> {
        self.stop.send_replace(true);
        self.calls.await.unwrap()
    }

    /// Stops, and expects that every call was answered well; how many there were.
    pub async fn stop_and_expect_success(self) -> usize {
        let calls = self.stop().await;
        let failed: Vec<_> = calls.iter().filter(|call| !matches!(call.answer, Ok((200, _)))).collect();
        assert!(failed.is_empty(), "{} of {} failed: {failed:#?}", failed.len(), calls.len());
        calls.len()
    }
}

async fn call(request: RequestBuilder) -> Call {
    let started = Instant::now();
    let answer = async {
        let response = request.send().await?;
        let status = response.status().as_u16();
        Ok::<_, reqwest::Error>((status, response.json().await?))
    };
    let answer = answer.await.map_err(|error| format!("{error:?}"));
    Call { answer, took: started.elapsed() }
}
