//! Keys that change under way, and where none of them shows.

use reqwest::Method;

use super::{call, provoke};
use crate::harness::log_of;
use crate::harness::scene::Scene;
use crate::harness::{HAIKU, Proxy, streamed};

const EVENTS_BEFORE_THE_HOLD: usize = 2;

#[tokio::test]
async fn a_key_is_replaced_under_load_and_what_is_under_way_ends_well() {
    let scene = Scene::with_keys("rotation", &["key", "new"]);
    let proxy = scene.proxy("", &scene.key("key", "")).await;
    scene.upstream.hold_after(EVENTS_BEFORE_THE_HOLD);
    let mut held = proxy.post(&proxy.token, &streamed(HAIKU)).await;
    let mut text = held.chunk().await.unwrap().unwrap().to_vec();
    let calls = async |fewest: usize| {
        // Plain ones, for streams are held.
        for _ in 0..fewest {
            assert_eq!(call(&proxy).await.status, 200);
        }
    };
    calls(10).await;
    let load = async {
        while scene.used().last().unwrap() != "new" {
            calls(4).await;
        }
        calls(10).await;
    };
    tokio::join!(load, async {
        scene.write("key", &format!("{}\n", scene.secret("new")));
    });
    scene.refuse("key"); // which would break what still used it
    calls(10).await;
    scene.upstream.release();
    while let Some(chunk) = held.chunk().await.unwrap() {
        text.extend(chunk);
    }
    assert!(String::from_utf8(text).unwrap().contains("event: message_stop"));
    let used = scene.used();
    let change = used.iter().position(|key| key == "new").unwrap();
    assert!(change > 10 && used[..change].iter().all(|key| key == "key"), "{used:?}");
    assert!(used[change..].iter().all(|key| key == "new"), "{used:?}");
}

#[tokio::test]
async fn what_is_no_key_keeps_the_old_one_in_force() {
    let scene = Scene::with_keys("rotation-faulty", &["key", "new"]);
    let proxy = scene.proxy("", &scene.key("key", "")).await;
    for (what, wrong) in [("empty", ""), ("white space", " \n"), ("half of two lines", "sk-ant-a\nsk-an")] {
        scene.write("key", wrong);
        proxy.until_faulty("key", true).await;
        proxy.serves(4).await;
        scene.write("key", &scene.secret("key"));
        proxy.until_faulty("key", false).await;
        assert!(scene.used().iter().all(|key| key == "key"), "{what}");
    }
    std::fs::remove_file(proxy.folder.join("rotation-faulty-key")).unwrap();
    proxy.until_faulty("key", true).await;
    proxy.serves(4).await;
    scene.write("key", &scene.secret("new"));
    proxy.until_faulty("key", false).await;
    let before = scene.used().len();
    proxy.serves(4).await;
    assert_eq!(scene.used().split_off(before), ["new"; 4]);
}

async fn keys_are_nowhere(name: &'static str, http2: bool) {
    let scene = Scene::with_keys(name, &["one", "three"]);
    let section = scene.section(&format!("http2 = {http2}"), &scene.keys(&["one", "two"]));
    let proxy = Proxy::start_logging("trace", name, |text| Proxy::with_upstream(text, &section));
    proxy.until_ready().await;
    let mut seen = Vec::new();
    for answer in [call(&proxy).await, call(&proxy).await, provoke(&proxy, 400).await, provoke(&proxy, 500).await] {
        seen.push(format!("{answer:?}"));
    }
    proxy.until_key("two", "set_aside").await;
    scene.write("one", "sk-ant-half\nsk-ant-ha");
    proxy.until_faulty("one", true).await;
    scene.write("one", &scene.secret("three"));
    proxy.until_faulty("one", false).await;
    let models = proxy.request(Method::GET, "/v1/models", &proxy.token).send().await.unwrap();
    seen.push(format!("{:?}", models.headers()));
    seen.push(models.text().await.unwrap());
    scene.refuse("three");
    seen.push(format!("{:?}", call(&proxy).await));
    proxy.until_key("one", "set_aside").await;
    scene.upstream.stop().await;
    let last = call(&proxy).await;
    proxy.record(&last.id).await;
    seen.push(format!("{last:?}"));
    seen.push(proxy.metrics().await);
    seen.push(log_of(&proxy.audit));
    let log = proxy.log();
    for sign in ["TRACE", "the key has changed", "is set aside", "a request failed"] {
        assert!(log.contains(sign), "{sign}: {log}");
    }
    seen.push(log);
    let seen = seen.join("\n");
    assert_eq!(seen.matches("\"key\":\"one\"").count() + seen.matches("\"key\":\"two\"").count(), 7, "{seen}");
    assert!(!seen.contains("sk-ant-"), "{seen}");
}

#[tokio::test]
async fn keys_are_nowhere_but_upstream() {
    tokio::join!(keys_are_nowhere("nowhere", false), keys_are_nowhere("nowhere-http2", true));
}
