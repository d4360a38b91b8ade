//! HTTP/2 to the upstream: calls that share connections.

use std::collections::BTreeSet;

use bytes::Bytes;
use futures_util::future::join_all;
use futures_util::stream;
use reqwest::{Response, Version};

use super::harness::authority::{Authority, Validity};
use super::harness::scene::Scene;
use super::harness::upstream::Logged;
use super::harness::{HAIKU, Proxy, message, request_id, streamed};

const HTTP2: &str = "http2 = true";

async fn scene(name: &'static str) -> (Scene, Proxy) {
    let scene = Scene::with_keys(name, &["one", "two", "three"]);
    let proxy = scene.proxy(HTTP2, &scene.keys(&["one", "two"])).await;
    (scene, proxy)
}

fn connections<'a>(log: impl IntoIterator<Item = &'a Logged>) -> BTreeSet<u64> {
    log.into_iter().filter(|logged| logged.path == "/v1/messages").map(|logged| logged.connection).collect()
}

/// A stream that has begun.
async fn begun(proxy: &Proxy) -> (Response, Vec<u8>) {
    let mut response = proxy.post(&proxy.token, &streamed(HAIKU)).await;
    let start = response.chunk().await.unwrap().unwrap().to_vec();
    (response, start)
}

#[tokio::test]
async fn many_calls_at_once_share_connections() {
    let (scene, proxy) = scene("http2").await;
    scene.upstream.hold_after(1);
    let mut held = Vec::new();
    for _ in 0..60 {
        held.push(begun(&proxy).await.0); // one after the other, for Pingora makes another while one is being looked at
    }
    assert_eq!(connections(&scene.upstream.log()).len(), 2, "of fifty each");
    scene.upstream.hold_after(0);
    let body = message(HAIKU);
    let calls = join_all((0..80).map(|_| proxy.answer(&proxy.token, &body)));
    let (answers, ()) = tokio::join!(calls, async {
        scene.upstream.until_log(|log| log.len() == 140).await;
        scene.upstream.release();
    });
    assert!(answers.iter().all(|answer| answer.status == 200));
    for held in held {
        assert!(held.text().await.unwrap().contains("message_stop"));
    }
    let log = scene.upstream.log();
    assert!(log.iter().all(|logged| logged.version == Version::HTTP_2));
    let shared = connections(&log);
    assert!(shared.len() < 80, "{shared:?}");
}

#[tokio::test]
async fn bodies_pass_whole_and_again_with_another_key() {
    let (scene, proxy) = scene("http2-bodies").await;
    scene.refuse("one");
    let mut body = message(HAIKU);
    body["messages"][0]["content"] = "x".repeat(3_000_000).into();
    assert_eq!(proxy.answer(&proxy.token, &body).await.status, 200);
    assert_eq!(scene.used(), ["one", "two"]);
    let whole = body.to_string();
    let calls = scene.upstream.log().into_iter().filter(|logged| logged.path == "/v1/messages");
    let length = whole.len().to_string();
    assert!(calls.into_iter().all(|logged| logged.body == whole && logged.headers["content-length"] == length));

    proxy.until_key("one", "set_aside").await;
    let chunks = (0..40).map(|_| Ok::<_, std::io::Error>(Bytes::from(vec![b'x'; 10_000])));
    let upload = proxy.http.post(format!("{}/v1/files", proxy.base_url)).bearer_auth(&proxy.token);
    let upload = upload.header("content-type", "multipart/form-data; boundary=x");
    let upload = upload.body(reqwest::Body::wrap_stream(stream::iter(chunks)));
    assert_eq!(upload.send().await.unwrap().status(), 404, "this upstream has no files");
    let log = scene.upstream.log();
    let upload = log.iter().find(|logged| logged.path == "/v1/files").unwrap();
    assert_eq!((upload.body.len(), upload.version), (400_000, Version::HTTP_2));
    assert!(upload.headers.get("transfer-encoding").is_none());
}

#[tokio::test]
async fn a_client_that_leaves_ends_its_stream_and_no_other() {
    let (scene, proxy) = scene("http2-left").await;
    scene.upstream.hold_after(1);
    let (left, _) = begun(&proxy).await;
    let (stays, _) = begun(&proxy).await;
    let id = request_id(&left);
    drop(left);
    proxy.record(&id).await;
    scene.upstream.release();
    assert!(stays.text().await.unwrap().contains("message_stop"));
    assert_eq!(connections(&scene.upstream.log()).len(), 1);
    proxy.serves(4).await;
}

#[tokio::test]
async fn a_stream_and_plain_calls_pass_on_one_connection() {
    let (scene, proxy) = scene("http2-multiplexed").await;
    scene.upstream.hold_after(2);
    let (mut held, mut text) = begun(&proxy).await;
    for _ in 0..10 {
        assert_eq!(proxy.answer(&proxy.token, &message(HAIKU)).await.status, 200);
    }
    scene.upstream.release();
    while let Some(chunk) = held.chunk().await.unwrap() {
        text.extend(chunk);
    }
    assert!(String::from_utf8(text).unwrap().contains("event: message_stop"));
    let log = scene.upstream.log();
    let shared = log.iter().filter(|logged| logged.connection == log[0].connection).count();
    assert!(shared > 5, "the stream's, but for calls in whose moment Pingora looked at it: {log:#?}");
}

#[tokio::test]
async fn an_upstream_that_resets_all_connections_is_connected_to_anew() {
    let (scene, proxy) = scene("http2-reset").await;
    proxy.serves(8).await;
    for _ in 0..3 {
        scene.upstream.hold_after(1);
        let (held, _) = begun(&proxy).await;
        let id = request_id(&held);
        scene.upstream.stop().await;
        let rest = held.text().await.unwrap_or_default();
        assert!(!rest.contains("message_stop"), "{rest}");
        let record = proxy.record(&id).await;
        assert_eq!((&record["reason"], &record["complete"]), (&"upstream_failed".into(), &false.into()), "{record}");
        scene.upstream.release();
        scene.upstream.start_again();
        proxy.serves(8).await;
    }
}

#[tokio::test]
async fn an_upstream_of_http1_alone_is_spoken_to_in_http1() {
    let scene = Scene::with_keys("http2-none", &["one"]);
    scene.upstream.speak_http1();
    let proxy = scene.proxy(HTTP2, &scene.keys(&["one"])).await;
    proxy.serves(16).await;
    assert!(scene.upstream.log().iter().all(|logged| logged.version == Version::HTTP_11));
}

#[tokio::test]
async fn keys_and_certificates_change_there_too() {
    let (scene, proxy) = scene("http2-rotation").await;
    proxy.serves(8).await;
    scene.upstream.hold_after(2);
    let (mut held, mut text) = begun(&proxy).await;

    let fresh = Authority::new("fresh");
    let client = fresh.client("edge", Validity::Current);
    scene.upstream.trust(&[&scene.authority, &fresh]);
    scene.write("one", &scene.secret("three"));
    super::harness::write_file("http2-rotation.crt", &client.pem());
    super::harness::write_file("http2-rotation.key", &client.key_pem());
    proxy.until_metric("portcullis_upstream_certificate_reloads_total", |reloads| reloads == 1).await;
    proxy.until_metric("portcullis_upstream_key_rotations_total{key=\"one\"}", |rotations| rotations == 1).await;
    scene.refuse("one");
    scene.refuse("two");
    let before = scene.upstream.log().len();
    for _ in 0..10 {
        assert_eq!(proxy.answer(&proxy.token, &message(HAIKU)).await.status, 200);
    }
    let log = scene.upstream.log().split_off(before);
    let calls: Vec<_> = log.iter().filter(|logged| logged.path == "/v1/messages").collect();
    assert!(calls.iter().all(|logged| logged.client == Some(client.serial) && logged.version == Version::HTTP_2));
    assert!(scene.used().iter().any(|key| key == "three"));
    scene.upstream.release();
    while let Some(chunk) = held.chunk().await.unwrap() {
        text.extend(chunk);
    }
    assert!(String::from_utf8(text).unwrap().contains("event: message_stop"), "on the former connection");
}
