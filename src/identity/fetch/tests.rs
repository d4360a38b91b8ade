//! Fetching from a server that does whatever a test tells it to.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::FutureExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::super::tests::{Signer, at, claims, jwks, rules};
use super::super::{Algorithm, Bearer, CacheBounds, Issuers};
use super::*;
use crate::config::{IssuerConfig, KeyLife, KeySource};
use crate::denial::{Denial, TokenFault};

/// What a server writes after it has read a request.
#[derive(Clone)]
enum Answer {
    Bytes(Vec<u8>),
    /// A header, then a byte every few milliseconds.
    Drip,
    /// A header without a length, then bytes without an end.
    Flood,
}

impl Answer {
    fn ok(body: &[u8]) -> Self {
        Self::with("200 OK", "content-type: text/plain", body)
    }

    fn with(status: &str, header: &str, body: &[u8]) -> Self {
        let head =
            format!("HTTP/1.1 {status}\r\n{header}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
        Self::Bytes([head.as_bytes(), body].concat())
    }
}

/// A server on loopback; it gives every request the answer of the moment.
struct Server {
    url: Url,
    answer: Arc<std::sync::Mutex<Answer>>,
    requests: Arc<AtomicUsize>,
}

impl Server {
    async fn start(answer: Answer) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = Url::parse(&format!("http://{}/jwks", listener.local_addr().unwrap())).unwrap();
        let answer = Arc::new(std::sync::Mutex::new(answer));
        let requests = Arc::<AtomicUsize>::default();
        let (shown, counted) = (Arc::clone(&answer), Arc::clone(&requests));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                counted.fetch_add(1, Ordering::SeqCst);
                let answer = shown.lock().unwrap().clone();
                tokio::spawn(Self::serve(stream, answer));
            }
        });
        Self { url, answer, requests }
    }

    /// Writes until the client has enough of it.
    async fn serve(mut stream: TcpStream, answer: Answer) {
        let mut request = [0; 4096];
        let _ = stream.read(&mut request).await;
        let head = b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n";
        let _ = match answer {
            Answer::Bytes(bytes) => stream.write_all(&bytes).await,
            Answer::Drip => {
                let mut written = stream.write_all(head).await;
                while written.is_ok() {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                    written = stream.write_all(b" ").await;
                }
                written
            }
            Answer::Flood => {
                let mut written = stream.write_all(head).await;
                while written.is_ok() {
                    written = stream.write_all(&[b' '; 8 << 10]).await;
                }
                written
            }
        };
        let _ = stream.shutdown().await;
    }

    fn answers(&self, answer: Answer) {
        *self.answer.lock().unwrap() = answer;
    }

    fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

async fn until(holds: impl Fn() -> bool) {
    while !holds() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

fn http_client() -> Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    client().unwrap()
}

fn config(name: &str, keys: KeySource) -> IssuerConfig {
    let mut rules = rules(&[Algorithm::ES256]);
    rules.name = name.to_owned();
    IssuerConfig { rules, keys, life: KeyLife::default(), signing_key: None }
}

/// Issuers of one issuer with keys at `url`, and its fetcher, hurried.
fn issuers(url: &Url, folder: Option<&Path>) -> (Issuers, KeyFetcher) {
    let config = config("test", KeySource::Uri(url.clone()));
    let (issuers, fetchers) = Issuers::new(vec![config], folder.map(Path::to_owned), CacheBounds::default());
    let mut fetcher = fetchers.into_iter().next().unwrap();
    fetcher.pace.timeout = Duration::from_millis(500);
    (issuers, fetcher)
}

/// The outcome of a token of `signer` that names its own key.
fn verify(issuers: &Issuers, signer: &Signer, now: SystemTime) -> Result<(), Denial> {
    let token = signer.sign(signer.jwk["kid"].as_str(), &claims());
    issuers.verify(Bearer::parse(&token).unwrap(), now).map(|_| ())
}

/// A moment at which the tests' tokens are valid; the fetcher's own clock is earlier.
fn now() -> SystemTime {
    at(1_800_000_000)
}

const UNAVAILABLE: fn() -> Denial = || Denial::IssuerUnavailable { issuer: "test".to_owned() };
const NO_KEY: Denial = Denial::TokenInvalid(TokenFault::Key);

fn status(issuers: &Issuers) -> (usize, bool, u64) {
    let status = issuers.key_sets(SystemTime::now()).next().unwrap();
    assert_eq!(status.issuer, "test");
    (status.keys, status.age.is_some(), status.fetch_failures)
}

/// Puts the fetched set where the clock of the tokens is.
fn freshen(fetcher: &KeyFetcher) {
    assert!(fetcher.keys.at(SystemTime::now()).is_some());
    fetcher.keys.date(now());
}

#[tokio::test]
async fn keys_come_from_the_server_and_its_word_on_their_life_shortens_the_pause() {
    let signer = Signer::es256("a");
    let server = Server::start(Answer::ok(&jwks(&[&signer]))).await;
    let (issuers, fetcher) = issuers(&server.url, None);
    assert_eq!(verify(&issuers, &signer, now()), Err(UNAVAILABLE()));
    assert_eq!((issuers.are_ready(), status(&issuers)), (false, (0, false, 0)));
    assert_eq!(fetcher.refresh(&http_client()).await, Duration::from_secs(300));
    freshen(&fetcher);
    assert_eq!(verify(&issuers, &signer, now()), Ok(()));
    assert_eq!((issuers.are_ready(), status(&issuers)), (true, (1, true, 0)));
    for (cache_control, expected) in [
        ("public, max-age=90", 90),
        ("max-age=5", 60),
        ("max-age=86400", 300),
        ("no-store", 300),
        ("max-age=many", 300),
        ("MAX-AGE=\"120\", private", 120),
    ] {
        server.answers(Answer::with("200 OK", &format!("cache-control: {cache_control}"), &jwks(&[&signer])));
        assert_eq!(fetcher.refresh(&http_client()).await, Duration::from_secs(expected), "{cache_control}");
    }
}

#[tokio::test]
async fn a_hostile_server_harms_nothing_and_the_last_good_set_stays() {
    let signer = Signer::es256("a");
    let server = Server::start(Answer::ok(&jwks(&[&signer]))).await;
    let (issuers, fetcher) = issuers(&server.url, None);
    let client = http_client();
    fetcher.refresh(&client).await;
    freshen(&fetcher);
    let elsewhere = Server::start(Answer::ok(&jwks(&[&Signer::es256("evil")]))).await;
    let deep = format!(r#"{{"keys":[{}{}]}}"#, "[".repeat(200_000), "]".repeat(200_000));
    let hostile = [
        Answer::Flood,
        Answer::Drip,
        Answer::Bytes(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000000\r\n\r\n".to_vec()),
        Answer::Bytes(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n{".to_vec()),
        Answer::Bytes(Vec::new()),
        Answer::Bytes(b"220 smtp ready\r\n".to_vec()),
        Answer::with("302 Found", &format!("location: {}", elsewhere.url), b""),
        Answer::with("500 Internal Server Error", "x: y", &jwks(&[&Signer::es256("evil")])),
        Answer::ok(b"<html>"),
        Answer::ok(deep.as_bytes()),
        Answer::ok(br#"{"keys":[]}"#),
        Answer::ok(br#"{"keys":[{"kty":"oct","k":"AAAA","kid":"a"}]}"#),
        Answer::ok(&vec![b' '; MAX_DOCUMENT + 1]),
    ];
    let count = hostile.len() as u64;
    for answer in hostile {
        server.answers(answer);
        assert_eq!(fetcher.refresh(&client).await, RETRY);
        assert_eq!(verify(&issuers, &signer, now()), Ok(()));
    }
    assert_eq!(status(&issuers), (1, true, count));
    assert_eq!(elsewhere.requests(), 0, "a redirect is not followed");
    server.answers(Answer::ok(&jwks(&[&signer])));
    assert_eq!(fetcher.refresh(&client).await, Duration::from_secs(300));
}

#[tokio::test]
async fn a_key_that_leaves_the_set_takes_its_verified_tokens_along() {
    let (old, new) = (Signer::es256("old"), Signer::es256("new"));
    let server = Server::start(Answer::ok(&jwks(&[&old]))).await;
    let (issuers, fetcher) = issuers(&server.url, None);
    let client = http_client();
    fetcher.refresh(&client).await;
    freshen(&fetcher);
    let token = old.sign(Some("old"), &claims());
    let verify_old = || issuers.verify(Bearer::parse(&token).unwrap(), now());
    let first = verify_old().unwrap();
    server.answers(Answer::ok(&jwks(&[&new, &old])));
    fetcher.refresh(&client).await;
    freshen(&fetcher);
    assert!(Arc::ptr_eq(&first, &verify_old().unwrap()), "a key that stays keeps its tokens");
    server.answers(Answer::ok(&jwks(&[&new])));
    fetcher.refresh(&client).await;
    freshen(&fetcher);
    assert_eq!(verify_old(), Err(NO_KEY));
}

#[tokio::test]
async fn a_refusal_for_want_of_a_key_does_not_outlive_the_fetch_that_brings_it() {
    let (old, new) = (Signer::es256("old"), Signer::es256("new"));
    let server = Server::start(Answer::ok(&jwks(&[&old]))).await;
    let (issuers, fetcher) = issuers(&server.url, None);
    let client = http_client();
    fetcher.refresh(&client).await;
    freshen(&fetcher);
    let token = new.sign(Some("new"), &claims());
    let verify_new = || issuers.verify(Bearer::parse(&token).unwrap(), now()).map(|_| ());
    assert_eq!((verify_new(), verify_new()), (Err(NO_KEY), Err(NO_KEY)));
    assert_eq!(issuers.cached_tokens(), (0, 1));
    server.answers(Answer::ok(&jwks(&[&old, &new])));
    fetcher.refresh(&client).await;
    freshen(&fetcher);
    assert_eq!(verify_new(), Ok(()));
}

#[tokio::test]
async fn unknown_keys_cause_one_fetch_an_interval_however_many_tokens_name_them() {
    let signer = Signer::es256("a");
    let server = Server::start(Answer::ok(&jwks(&[&signer]))).await;
    let (issuers, mut fetcher) = issuers(&server.url, None);
    let _ = http_client(); // the crypto provider
    fetcher.pace.interval = Duration::from_millis(200);
    let keys = Arc::clone(&fetcher.keys);
    let started = Instant::now();
    let running = tokio::spawn(async move { fetcher.run().await });
    until(|| keys.are_settled()).await;
    keys.date(now());
    let misses = || {
        for number in 0..500 {
            let token = signer.sign(Some(&format!("unknown-{number}")), &claims());
            assert_eq!(issuers.verify(Bearer::parse(&token).unwrap(), now()).map(|_| ()), Err(NO_KEY));
        }
    };
    misses();
    assert_eq!(server.requests(), 1);
    until(|| server.requests() == 2).await;
    assert!(started.elapsed() >= Duration::from_millis(200));
    running.abort();
    assert!(running.await.unwrap_err().is_cancelled());
    keys.date(now());
    misses();
    assert!(
        keys.wanted().now_or_never().is_none(),
        "the same ids ask no more, and those who asked were answered by one"
    );
}

#[tokio::test]
async fn an_issuer_that_is_down_keeps_no_other_waiting() {
    let signer = Signer::es256("a");
    let server = Server::start(Answer::ok(&jwks(&[&signer]))).await;
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let down = Url::parse(&format!("http://{}/jwks", gone.local_addr().unwrap())).unwrap();
    drop(gone);
    let mut other = config("down", KeySource::Uri(down));
    other.rules.issuer = "https://down.test".to_owned();
    let configs = vec![other, config("test", KeySource::Uri(server.url.clone()))];
    let (issuers, fetchers) = Issuers::new(configs, None, CacheBounds::default());
    let client = http_client();
    fetchers[1].refresh(&client).await;
    freshen(&fetchers[1]);
    assert!(!issuers.are_ready(), "the first has not been asked yet");
    assert_eq!(verify(&issuers, &signer, now()), Ok(()));
    fetchers[0].refresh(&client).await;
    assert!(issuers.are_ready(), "it was asked, and the other can serve");
    let ages: Vec<_> =
        issuers.key_sets(now()).map(|status| (status.issuer, status.keys, status.fetch_failures)).collect();
    assert_eq!(ages, [("down", 0, 1), ("test", 1, 0)]);
}

#[tokio::test]
async fn a_start_without_the_identity_provider_serves_from_disk() {
    let signer = Signer::es256("a");
    let server = Server::start(Answer::ok(&jwks(&[&signer]))).await;
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().join("made");
    let (_, fetcher) = issuers(&server.url, Some(&folder));
    fetcher.refresh(&http_client()).await;

    server.answers(Answer::with("503 Service Unavailable", "x: y", b""));
    let (restarted, fetcher) = issuers(&server.url, Some(&folder));
    assert!(restarted.are_ready());
    assert_eq!(status(&restarted).0, 1);
    assert!(fetcher.keys.at(SystemTime::now()).unwrap().fetched_at() <= SystemTime::now());
    fetcher.keys.date(now());
    assert_eq!(verify(&restarted, &signer, now()), Ok(()));

    // Of a day ago and more it is not taken, whatever the file's own date is.
    let saved = fetcher.saved.as_ref().unwrap();
    saved.save(&jwks(&[&signer]), SystemTime::now() - Duration::from_secs(86_402)).unwrap();
    let (restarted, _) = issuers(&server.url, Some(&folder));
    assert!(!restarted.are_ready());
    assert_eq!(verify(&restarted, &signer, now()), Err(UNAVAILABLE()));
}

#[tokio::test]
async fn a_set_that_is_too_old_is_dropped_with_its_verified_tokens() {
    let signer = Signer::es256("a");
    let server = Server::start(Answer::ok(&jwks(&[&signer]))).await;
    let (issuers, fetcher) = issuers(&server.url, None);
    let client = http_client();
    fetcher.refresh(&client).await;
    let day = Duration::from_secs(86_400);
    fetcher.keys.date(now() - day);
    let token = signer.sign(Some("a"), &claims());
    let verify = |now| issuers.verify(Bearer::parse(&token).unwrap(), now).map(|_| ());
    assert_eq!(verify(now()), Ok(()));
    assert_eq!(verify(now() + Duration::from_secs(1)), Err(UNAVAILABLE()), "also for a token that is remembered");
    fetcher.keys.date(SystemTime::now() - day - Duration::from_secs(1));
    server.answers(Answer::with("503 Service Unavailable", "x: y", b""));
    fetcher.refresh(&client).await;
    assert_eq!(status(&issuers), (0, false, 1));
}

#[tokio::test]
async fn discovery_takes_keys_only_of_the_issuer_that_was_asked_for_and_only_from_where_they_may_come() {
    let signer = Signer::es256("a");
    let keys = Server::start(Answer::ok(&jwks(&[&signer]))).await;
    let metadata = |issuer: &str, jwks_uri: &str| {
        Answer::ok(serde_json::json!({ "issuer": issuer, "jwks_uri": jwks_uri }).to_string().as_bytes())
    };
    let server = Server::start(metadata("https://issuer.test", keys.url.as_str())).await;
    let (issuers, mut fetcher) = issuers(&server.url, None);
    fetcher.source.discover = true;
    let client = http_client();
    for (answer, found) in [
        (metadata("https://issuer.test/", keys.url.as_str()), false),
        (metadata("https://issuer.test", "http://192.0.2.1/jwks"), false),
        (metadata("https://issuer.test", "file:///etc/passwd"), false),
        (metadata("https://issuer.test", "no url"), false),
        (Answer::ok(b"{}"), false),
        (metadata("https://issuer.test", keys.url.as_str()), true),
    ] {
        server.answers(answer);
        fetcher.refresh(&client).await;
        assert_eq!(status(&issuers).0, usize::from(found));
    }
}

#[test]
fn keys_are_fetched_by_https_or_from_this_host() {
    for (url, expected) in [
        ("https://idp.test/jwks", true),
        ("http://127.0.0.1:80/jwks", true),
        ("http://[::1]/jwks", true),
        ("http://localhost/jwks", true),
        ("http://idp.test/jwks", false),
        ("http://127.0.0.1.idp.test/jwks", false),
        ("file:///etc/passwd", false),
    ] {
        assert_eq!(may_fetch(&Url::parse(url).unwrap()), expected, "{url}");
    }
}
