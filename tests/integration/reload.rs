//! Another configuration while the proxy serves: in force as a whole, or refused.

use std::time::{Duration, Instant};

use reqwest::{Client, Identity, Method};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;

use super::harness::authority::{Authority, Validity};
use super::harness::collector::Collector;
use super::harness::load::Load;
use super::harness::upstream::{TestUpstream, Transport};
use super::harness::{
    HAIKU, Proxy, Sandbox, held_to_schema, lines_of, message, request_id, run, segments_of, streamed, trusting,
    unique_id, write_file,
};

const REFUSED: &str = "portcullis_config_reloads_total{outcome=\"refused\"}";

async fn status(proxy: &Proxy, token: &str) -> u16 {
    proxy.post(token, &message(HAIKU)).await.status().as_u16()
}

async fn left(proxy: &Proxy, token: &str) -> Vec<u64> {
    let whoami = proxy.whoami(token).await;
    whoami["limits"].as_array().unwrap().iter().map(|limit| limit["remaining"].as_u64().unwrap()).collect()
}

/// The sections that each `configured` line names.
fn configured(proxy: &Proxy) -> Vec<Value> {
    let lines = lines_of(&proxy.audit).into_iter().filter(|line| line["event"] == "configured");
    held_to_schema(lines.collect()).into_iter().map(|line| line["changed"].clone()).collect()
}

#[tokio::test]
async fn what_callers_may_do_changes_and_what_they_have_used_does_not() {
    let limit = "[[limit]]\nname = \"l\"\nper = \"subject\"\nrequests = \"10/h\"\n";
    let proxy = Proxy::with("reload-policy", limit).await;
    let token = Sandbox::shared().token_of("alice", "claude:haiku");
    assert_eq!((status(&proxy, &token).await, left(&proxy, &token).await), (200, vec![9]));

    let grant = "models = [\"claude-haiku-*\", \"claude-3-5-haiku-*\"]";
    proxy.reconfigure(|text| text.replace(grant, "models = [\"claude-3-5-haiku-*\"]")).await;
    assert_eq!(status(&proxy, &token).await, 403);
    proxy.reconfigure(|text| text.replace("models = [\"claude-3-5-haiku-*\"]", grant)).await;
    assert_eq!(left(&proxy, &token).await, [9]);

    proxy.reconfigure(|text| text.replace("10/h", "2/h")).await;
    assert_eq!((status(&proxy, &token).await, left(&proxy, &token).await), (200, vec![0]));
    assert_eq!(status(&proxy, &token).await, 429);
    proxy.reconfigure(|text| text.replace("2/h", "4/h")).await;
    assert_eq!((status(&proxy, &token).await, left(&proxy, &token).await), (200, vec![1]));

    proxy.reconfigure(|text| format!("{text}\n[address]\ndeny = [\"127.0.0.0/8\"]")).await;
    assert_eq!(status(&proxy, &token).await, 403);
    proxy.reconfigure(|text| text.replace("deny = [\"127.0.0.0/8\"]", "")).await;

    proxy.reconfigure(|text| format!("{text}\n[privacy]\nprompts = \"block\"\nblock = [\"EMAIL\"]")).await;
    let mut body = message(HAIKU);
    body["messages"][0]["content"] = "Write to jane.doe@example.org".into();
    assert_eq!(proxy.post(&token, &body).await.status(), 400);

    // What is on record of a call comes after the line of its configuration.
    proxy.records_when(|records| records.iter().any(|record| record["status"] == 400)).await;
    let changed = configured(&proxy);
    let expected = json!([["grant"], ["grant"], ["limit"], ["limit"], ["address"], ["address"], ["privacy"]]);
    assert_eq!(json!(changed), expected);
    let log = proxy.log();
    assert!(log.contains("another configuration is in force") && log.contains("limit"), "{log}");
    proxy.stop();
}

#[tokio::test]
async fn issuers_come_and_go_and_those_that_stay_keep_their_keys() {
    let proxy = Proxy::with("reload-issuers", "").await;
    write_file("reload-issuer-secret", "thirty-two-bytes-of-a-test-secret");
    let other = "[[issuer]]\nname = \"other\"\nissuer = \"https://other.test\"\naudience = [\"api://claude\"]\n\
                 secret = { file = \"reload-issuer-secret\" }\n";
    let text = format!("{}\n{other}", std::fs::read_to_string(&Sandbox::shared().ready.config_file).unwrap());
    let signing = write_file("reload-issuer-signing.toml", &text);
    let arguments = ["token", "--config", signing.to_str().unwrap(), "--issuer", "other"];
    let output = run(&[&arguments[..], &["--subject", "bob", "--scope", "claude:haiku"]].concat());
    assert!(output.status.success(), "{output:?}");
    let token = String::from_utf8(output.stdout).unwrap().trim().to_owned();

    assert_eq!((status(&proxy, &token).await, status(&proxy, &proxy.token).await), (401, 200));
    proxy.reconfigure(|text| format!("{text}\n{other}")).await;
    assert_eq!((status(&proxy, &token).await, status(&proxy, &proxy.token).await), (200, 200));
    proxy.reconfigure(|text| text.replace(other, "")).await;
    assert_eq!((status(&proxy, &token).await, status(&proxy, &proxy.token).await), (401, 200));
    assert_eq!(proxy.log().matches("fetched the issuer's keys").count(), 1, "of the one that stays once");
    assert!(!proxy.metrics().await.contains("{issuer=\"other\"}"));
}

#[tokio::test]
async fn calls_go_to_another_upstream_with_another_key() {
    let (first, second) = (TestUpstream::start(Transport::Plain), TestUpstream::start(Transport::Plain));
    for key in ["key-one", "key-two"] {
        write_file(&format!("reload-{key}"), key);
        first.accept(key, 200, &[]);
        second.accept(key, 200, &[]);
    }
    let section = |upstream: &TestUpstream, key: &str| {
        format!(
            "[upstream]\nendpoints = [\"{}\"]\ntls = false\n[[upstream.key]]\nname = \"{key}\"\nsecret = {{ file = \"reload-{key}\" }}\n",
            upstream.address()
        )
    };
    let proxy = Proxy::upstream("reload-upstream", &section(&first, "key-one")).await;
    let borne = |upstream: &TestUpstream| {
        upstream
            .log()
            .iter()
            .filter(|call| call.method == "POST")
            .filter_map(|call| call.key.clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(status(&proxy, &proxy.token).await, 200);
    proxy.reconfigure(|text| Proxy::with_upstream(text, &section(&first, "key-two"))).await;
    assert_eq!(status(&proxy, &proxy.token).await, 200);
    proxy.reconfigure(|text| Proxy::with_upstream(text, &section(&second, "key-two"))).await;
    assert_eq!(status(&proxy, &proxy.token).await, 200);
    assert_eq!(
        (borne(&first), borne(&second)),
        (vec!["key-one".to_owned(), "key-two".to_owned()], vec!["key-two".to_owned()])
    );
}

#[tokio::test]
async fn a_file_with_faults_is_refused_with_all_of_them_and_nothing_changes() {
    let proxy = Proxy::with("reload-faults", "").await;
    let good = std::fs::read_to_string(proxy.folder.join("reload-faults.toml")).unwrap();
    let secret = "sk-ant-never-in-a-log";
    proxy.configure(|text| {
        let grants = text.replace("[[grant]]", "[[grants]]");
        grants.replace("secret = { file = \"anthropic-key\" }", &format!("secret = \"{secret}\""))
            + "\n[door]\nrequests = 7\n"
    });
    proxy.reload("refused").await;
    assert_eq!(status(&proxy, &proxy.token).await, 200);
    let log = proxy.log();
    for part in [
        "grants",
        "unknown key",
        "upstream.key[0].secret",
        "write a reference",
        "door.requests",
        "the old one stays in force",
    ] {
        assert!(log.contains(part), "{part}: {log}");
    }
    assert!(!log.contains(secret), "{log}");
    proxy.until_metric("portcullis_config_last_reload_successful", |value| value == 0).await;

    // What is not to change while it runs.
    let (listen, _) = super::harness::free_addresses();
    proxy.configure(|_| {
        good.replace(proxy.base_url.trim_start_matches("http://"), &listen).replace("claude:haiku", "claude:nobody")
    });
    proxy.reload("refused").await;
    assert_eq!(status(&proxy, &proxy.token).await, 200, "all or nothing");
    let log = proxy.log();
    assert!(log.contains("listen.address") && log.contains("needs a restart"), "{log}");
    assert_eq!(configured(&proxy), [json!(null); 0]);

    // And back: the file says what is in force.
    proxy.configure(|_| good.clone());
    proxy.reload("unchanged").await;
    proxy.until_metric("portcullis_config_last_reload_successful", |value| value == 1).await;
    proxy.until_metric(REFUSED, |reloads| reloads == 2).await;
}

#[tokio::test]
async fn what_a_new_configuration_needs_is_there_before_it_is_in_force() {
    let proxy = Proxy::with("reload-ready", "").await;
    // A name that nobody knows: there is no address, however long one waits.
    proxy.configure(|text| text.replacen("endpoints = [\"127.0.0.1:", "endpoints = [\"nowhere.invalid:", 1));
    let mut load = Load::start(&proxy, 50);
    proxy.reload("refused").await;
    load.goes_on(20).await;
    load.stop_and_expect_success().await;
    assert!(proxy.log().contains("an upstream address did not come in time"), "{}", proxy.log());
}

#[tokio::test]
async fn streams_under_way_go_on_under_the_configuration_that_they_began_with() {
    let proxy = Proxy::with("reload-streams", "[[limit]]\nname = \"l\"\nper = \"subject\"\nconcurrent = 2\n").await;
    let call = proxy
        .request(Method::POST, "/v1/messages", &proxy.token)
        .header("anthropic-standin", "events=40;gap=50")
        .body(streamed(HAIKU).to_string());
    let mut stream = call.send().await.unwrap();
    let id = request_id(&stream);
    stream.chunk().await.unwrap().unwrap();
    proxy.reconfigure(|text| text.replace("concurrent = 2", "concurrent = 1")).await;
    assert_eq!(status(&proxy, &proxy.token).await, 429, "what is under way counts");
    proxy.reconfigure(|text| text.replace("scope = \"claude:haiku\"", "scope = \"claude:nobody\"")).await;
    assert_eq!(status(&proxy, &proxy.token).await, 403);
    let mut text = String::new();
    while let Some(chunk) = stream.chunk().await.unwrap() {
        text.push_str(std::str::from_utf8(&chunk).unwrap());
    }
    assert!(text.contains("event: message_stop"), "{text}");
    let records = proxy
        .records_when(|records| records.iter().any(|line| line["event"] == "end" && line["request_id"] == id))
        .await;
    let end = records.iter().find(|line| line["event"] == "end" && line["request_id"] == id).unwrap();
    assert_eq!((&end["complete"], &end["rule"]), (&json!(true), &json!("claude:haiku")));
    assert_eq!(left(&proxy, &proxy.token).await, [1], "what it held is given back");
}

#[tokio::test]
async fn a_revocation_holds_through_a_change_of_its_source_and_cuts_what_began_before() {
    let revoked = |subject: &str| json!({ "subjects": [subject] }).to_string();
    write_file("reload-revoked-1.json", &revoked("mallory"));
    write_file("reload-revoked-2.json", &revoked("mallory"));
    let section = "[revocation]\nfile = \"reload-revoked-1.json\"\ncut_streams = true\n";
    let proxy = Proxy::with("reload-revoked", section).await;
    let mallory = Sandbox::shared().token_of("mallory", "claude:haiku");
    let alice = Sandbox::shared().token_of("alice", "claude:haiku");
    assert_eq!((status(&proxy, &mallory).await, status(&proxy, &alice).await), (401, 200));
    let call = proxy
        .request(Method::POST, "/v1/messages", &alice)
        .header("anthropic-standin", "events=2000;gap=20")
        .body(streamed(HAIKU).to_string());
    let mut stream = call.send().await.unwrap();
    stream.chunk().await.unwrap().unwrap();

    let asked = mallory.clone();
    let mut load = Load::start_with(&proxy, 200, move |request, _| {
        request.header("x-api-key", &asked).header("authorization", format!("Bearer {asked}"))
    });
    load.goes_on(20).await;
    proxy.reconfigure(|text| text.replace("revoked-1", "revoked-2")).await;
    load.goes_on(20).await;
    assert!(load.stop().await.iter().all(|call| !matches!(call.answer, Ok((200, _)))), "never an instant without it");

    // The new source is followed, also for the stream that began under the old one.
    write_file("reload-revoked-2.json", &revoked("alice"));
    let mut text = String::new();
    while let Ok(Some(chunk)) = stream.chunk().await {
        text.push_str(std::str::from_utf8(&chunk).unwrap());
    }
    assert!(text.contains("event: error") && text.contains("authentication_error"), "{text}");
    write_file("reload-revoked-1.json", &revoked("bob"));
    let bob = Sandbox::shared().token_of("bob", "claude:haiku");
    assert_eq!((status(&proxy, &alice).await, status(&proxy, &bob).await), (401, 200), "the old one is not");
}

#[tokio::test]
async fn the_file_is_followed_where_it_says_so() {
    let proxy = Proxy::with("reload-follow", "[reload]\non_change = true\n").await;
    proxy.configure(|text| text.replace("scope = \"claude:haiku\"", "scope = \"claude:nobody\""));
    let applied = "portcullis_config_reloads_total{outcome=\"applied\"}";
    proxy.until_metric(applied, |reloads| reloads == 1).await;
    assert_eq!(status(&proxy, &proxy.token).await, 403);
    proxy.configure(|text| text.replace("[listen]", "[listen"));
    proxy.until_metric(REFUSED, |reloads| reloads == 1).await;
    proxy.configure(|text| {
        text.replace("[listen", "[listen]")
            .replace("claude:nobody", "claude:haiku")
            .replace("on_change = true", "on_change = false")
    });
    proxy.until_metric(applied, |reloads| reloads == 2).await;
    assert_eq!(status(&proxy, &proxy.token).await, 200);
    proxy.configure(|text| text.replace("scope = \"claude:haiku\"", "scope = \"claude:nobody\""));
    proxy.reload("applied").await; // by the signal: nobody looks any more
    proxy.until_metric(applied, |reloads| reloads == 3).await;
}

/// A client that makes a connection for each call and, as SDKs do, resumes TLS sessions where it can.
fn https(authorities: &[&Authority], identity: Option<&super::harness::authority::Certified>) -> Client {
    let bundle: String = authorities.iter().map(|authority| authority.pem()).collect();
    let file = write_file(&format!("reload-ca-{}", unique_id()), &bundle);
    let mut builder = trusting(&file).tls_certs_only(
        authorities.iter().map(|authority| reqwest::Certificate::from_pem(authority.pem().as_bytes()).unwrap()),
    );
    if let Some(identity) = identity {
        builder =
            builder.identity(Identity::from_pem(&[identity.pem(), identity.key_pem()].concat().into_bytes()).unwrap());
    }
    builder.build().unwrap()
}

async fn reached(proxy: &Proxy, client: &Client) -> bool {
    let url = format!("{}/api/hello", proxy.base_url.replace("http://", "https://"));
    client.head(url).send().await.is_ok_and(|response| response.status() == 200)
}

#[tokio::test]
async fn the_listeners_certificates_change_with_their_files_and_by_reload() {
    let (former, latter) = (Authority::new("former"), Authority::new("latter"));
    let write = |authority: &Authority| {
        let certificate = authority.server(&["127.0.0.1"], Validity::Current);
        write_file("reload-server.crt", &certificate.pem());
        write_file("reload-server.key", &certificate.key_pem());
    };
    write(&former);
    let proxy = Proxy::with("reload-tls", "").await;
    assert_eq!(status(&proxy, &proxy.token).await, 200);
    let tls = "tls = { certificate = \"reload-server.crt\", key = \"reload-server.key\" }";
    proxy.reconfigure(|text| text.replacen("[admin]", &format!("{tls}\n[admin]"), 1)).await;
    let (old, new) = (https(&[&former], None), https(&[&latter], None));
    assert!(reached(&proxy, &old).await && !reached(&proxy, &new).await);

    // Renewed on disk, without a word to the proxy; half of it is no certificate.
    write_file("reload-server.crt", "-----BEGIN");
    proxy.until_metric("portcullis_listener_certificates_faulty", |faulty| faulty == 1).await;
    assert!(reached(&proxy, &old).await);
    let since = Instant::now();
    write(&latter);
    while !reached(&proxy, &new).await {
        assert!(since.elapsed() < Duration::from_secs(20));
    }
    assert!(!reached(&proxy, &old).await);
    proxy.until_metric("portcullis_listener_certificates_faulty", |faulty| faulty == 0).await;

    // Clients are asked for certificates, and then for those of another authority. No session outlives its authority.
    let (ours, theirs) = (former.client("edge", Validity::Current), latter.client("edge", Validity::Current));
    write_file("reload-clients.pem", &former.pem());
    proxy.reconfigure(|text| text.replace(tls, &format!("{tls}\nclient_ca = \"reload-clients.pem\""))).await;
    let (first, second) = (https(&[&latter], Some(&ours)), https(&[&latter], Some(&theirs)));
    assert!(reached(&proxy, &first).await && reached(&proxy, &first).await);
    assert!(!reached(&proxy, &second).await && !reached(&proxy, &new).await);
    write_file("reload-clients.pem", &latter.pem());
    proxy.until_metric("portcullis_listener_certificate_reloads_total", |reloads| reloads >= 1).await;
    while !reached(&proxy, &second).await {
        assert!(since.elapsed() < Duration::from_secs(40));
    }
    assert!(!reached(&proxy, &first).await, "its session is not resumed");

    // Plain text again, for the next connection.
    proxy.reconfigure(|text| text.replace(&format!("{tls}\nclient_ca = \"reload-clients.pem\"\n"), "")).await;
    assert_eq!(status(&proxy, &proxy.token).await, 200);
}

#[tokio::test]
async fn a_proxy_header_is_demanded_from_the_next_connection_on() {
    let proxy = Proxy::with("reload-header", "").await;
    proxy
        .reconfigure(|text| {
            text.replacen("[admin]", "trusted_proxies = [\"127.0.0.1/32\"]\nproxy_protocol = true\n[admin]", 1)
        })
        .await;
    let hello = format!("{}/api/hello", proxy.base_url);
    assert!(proxy.http.head(&hello).send().await.is_err());
    let mut socket = tokio::net::TcpStream::connect(proxy.base_url.trim_start_matches("http://")).await.unwrap();
    socket
        .write_all(
            b"PROXY TCP4 192.0.2.7 192.0.2.1 1 2\r\nHEAD /api/hello HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n",
        )
        .await
        .unwrap();
    let mut answer = String::new();
    tokio::io::AsyncReadExt::read_to_string(&mut socket, &mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[tokio::test]
async fn no_call_fails_over_twenty_reloads() {
    let proxy =
        Proxy::with("reload-load", "[[limit]]\nname = \"l\"\nper = \"subject\"\nrequests = \"1000000/h\"\n").await;
    let mut load = Load::start(&proxy, 100);
    load.goes_on(50).await;
    for number in 0..20 {
        proxy
            .reconfigure(|text| {
                let (head, _) = text.split_once("# turn").unwrap_or((text, ""));
                let (door, timeout) = (5_000 + number, 300 + number);
                let head = head.replace(&format!("silence_timeout = \"{}s\"\n", timeout - 1), "");
                let upstream = format!("[upstream]\nsilence_timeout = \"{timeout}s\"\n");
                format!("{}# turn\n[door]\nrequests = \"{door}/s\"\n", head.replace("[upstream]\n", &upstream))
            })
            .await;
        load.goes_on(5).await;
    }
    load.goes_on(50).await;
    let calls = load.stop_and_expect_success().await as u64;
    assert!(calls >= 200, "{calls}");
    assert_eq!(left(&proxy, &proxy.token).await, [1_000_000 - calls], "all of them are counted once");
    proxy.stop();
}

#[tokio::test]
async fn records_go_to_another_collector_and_segments_close_by_another_rule() {
    let (first, second) = (Collector::start(None), Collector::start(None));
    let section = |collector: &Collector| format!("otlp = \"http://{}\"", collector.address());
    let proxy = Proxy::with("reload-carriers", &format!("[telemetry]\n{}\n", section(&first))).await;
    let call = async || request_id(&proxy.post(&proxy.token, &message(HAIKU)).await);
    let to_first = call().await;
    first.record("portcullis.audit.end", &to_first).await;
    proxy.reconfigure(|text| text.replace(&section(&first), &section(&second))).await;
    let to_second = call().await;
    second.record("portcullis.audit.end", &to_second).await;
    let has = |collector: &Collector, id: &str| format!("{:?}", collector.records()).contains(id);
    assert!(!has(&first, &to_second) && !has(&second, &to_first));
    assert!(format!("{:?}", second.records()).contains("portcullis.audit.configured"), "the first of its lines");

    proxy.reconfigure(|text| text.replace("directory = \"audit-", "segment_age = \"1s\"\ndirectory = \"audit-")).await;
    let deadline = Instant::now() + Duration::from_secs(30);
    while segments_of(&proxy.audit).len() < 2 {
        call().await;
        assert!(Instant::now() < deadline, "no segment was closed");
    }
}

#[tokio::test]
async fn a_sandbox_reloads_the_file_that_it_wrote() {
    let sandbox = Sandbox::start(&["--plaintext"]);
    let config = std::fs::read_to_string(&sandbox.ready.config_file).unwrap();
    sandbox.process.signal("HUP");
    let refused = "portcullis_config_reloads_total{outcome=\"refused\"}";
    let applied = "portcullis_config_reloads_total{outcome=\"applied\"}";
    // The ports that were free stand in the file by now, which is another text.
    sandbox.until_metric(applied, |reloads| reloads == 1).await;
    std::fs::write(&sandbox.ready.config_file, config.replace("claude:haiku", "claude:nobody")).unwrap();
    sandbox.process.signal("HUP");
    sandbox.until_metric(applied, |reloads| reloads == 2).await;
    assert_eq!(sandbox.post(&message(HAIKU)).await.status(), 403);
    assert_eq!(sandbox.metric(refused).await, 0);
}
