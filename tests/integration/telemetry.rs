//! Audit records at a collector, and what becomes of requests when it is away.

use std::sync::Arc;
use std::time::Instant;

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::json;

use super::harness::collector::{Collector, Reply, attribute};
use super::harness::{HAIKU, Proxy, Sandbox, message, request_id, streamed, write_file};

fn to(collector: &Collector) -> String {
    format!("[telemetry]\notlp = \"http://{}\"\ntimeout = \"1s\"", collector.address())
}

const SENT: &str = "portcullis_otlp_records_total{outcome=\"sent\"}";
const FAILED: &str = "portcullis_otlp_records_total{outcome=\"failed\"}";
const DROPPED: &str = "portcullis_otlp_records_total{outcome=\"dropped\"}";

#[tokio::test]
async fn records_reach_a_collector_with_their_attributes() {
    let collector = Collector::start(None);
    let proxy = Proxy::with(
        "otlp",
        &format!(
            "{}\nservice_name = \"edge\"\nresource = {{ \"deployment.environment.name\" = \"test\" }}",
            to(&collector)
        ),
    )
    .await;
    let id = request_id(&proxy.post(&proxy.token, &message(HAIKU)).await);
    let sent = collector.record("portcullis.audit.end", &id).await;
    let line = proxy.record(&id).await;
    for (name, expected) in [
        ("gen_ai.operation.name", json!("chat")),
        ("gen_ai.provider.name", json!("anthropic")),
        ("gen_ai.request.model", json!(HAIKU)),
        ("gen_ai.request.max_tokens", json!(64)),
        ("http.request.method", json!("POST")),
        ("http.response.status_code", json!(200)),
        ("client.address", json!("127.0.0.1")),
        ("enduser.id", line["subject"].clone()),
        ("portcullis.audit.rule", line["rule"].clone()),
        ("portcullis.audit.version", json!(2)),
        ("portcullis.audit.sha256", line["sha256"].clone()),
    ] {
        assert_eq!(attribute(&sent.attributes, name), expected, "{name}");
    }
    let tokens = |name: &str| line["usage"][name].as_u64().unwrap_or_default();
    let input = tokens("input_tokens") + tokens("cache_creation_input_tokens") + tokens("cache_read_input_tokens");
    assert_eq!(attribute(&sent.attributes, "gen_ai.usage.input_tokens"), json!(input));
    assert!(sent.time_unix_nano > 0 && sent.observed_time_unix_nano >= sent.time_unix_nano);
    assert_eq!(sent.severity_text, "INFO");

    let export = collector.exports().remove(0);
    assert_eq!(export.path, "/v1/logs");
    assert_eq!(export.headers["content-type"], "application/x-protobuf");
    let resource = export.logs.resource_logs[0].resource.clone().unwrap().attributes;
    assert_eq!(attribute(&resource, "service.name"), "edge");
    assert_eq!(attribute(&resource, "deployment.environment.name"), "test");
    for name in ["service.version", "service.instance.id", "host.name"] {
        assert!(attribute(&resource, name).is_string(), "{name}: {resource:?}");
    }

    let refused = proxy.request(reqwest::Method::POST, "/v1/messages", "no token").send().await.unwrap();
    let sent = collector.record("portcullis.audit.refused", &request_id(&refused)).await;
    assert_eq!(attribute(&sent.attributes, "error.type"), "credential_malformed");
    assert_eq!(sent.severity_text, "WARN");
    proxy.stop();
}

#[tokio::test]
async fn what_waits_at_the_stop_is_sent() {
    let collector = Collector::start(None);
    let proxy = Proxy::with("otlp-stop", &to(&collector)).await;
    let id = request_id(&proxy.post(&proxy.token, &message(HAIKU)).await);
    proxy.record(&id).await;
    proxy.stop();
    let records = collector.records();
    let ids = records.iter().map(|record| attribute(&record.attributes, "portcullis.audit.request_id"));
    assert!(ids.into_iter().any(|sent| sent == id.as_str()), "{records:#?}");
}

#[tokio::test]
async fn a_collector_is_trusted_by_its_authority_and_told_our_credential() {
    let folder = Sandbox::shared().folder.path();
    let read = |name: &str| std::fs::read(folder.join(name)).unwrap();
    let chain = CertificateDer::pem_slice_iter(&read("server.crt")).map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_slice(&read("server.key")).unwrap();
    let tls = ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key).unwrap();
    let collector = Collector::start(Some(Arc::new(tls)));
    write_file("otlp-authorization", "Bearer collector-secret");
    let header = "[[telemetry.header]]\nname = \"authorization\"\nsecret = { file = \"otlp-authorization\" }";
    let section = |more: &str| {
        format!("[telemetry]\notlp = \"https://{}/base\"\ntimeout = \"1s\"\n{more}\n{header}", collector.address())
    };

    let proxy = Proxy::with("otlp-tls", &section("ca = \"ca.crt\"")).await;
    let id = request_id(&proxy.post(&proxy.token, &message(HAIKU)).await);
    collector.record("portcullis.audit.end", &id).await;
    let export = collector.exports().remove(0);
    assert_eq!(export.path, "/base/v1/logs");
    assert_eq!(export.headers["authorization"], "Bearer collector-secret");
    let log = proxy.log();
    proxy.stop();
    assert!(!log.contains("collector-secret"), "{log}");

    let before = collector.records().len();
    let wary = Proxy::with("otlp-distrust", &section("")).await;
    assert_eq!(wary.post(&wary.token, &message(HAIKU)).await.status(), 200);
    wary.until_metric(FAILED, |failed| failed > 0).await;
    assert_eq!(collector.records().len(), before, "the system's roots do not know this collector");
}

#[tokio::test]
async fn a_collector_that_refuses_costs_records_and_no_request() {
    let collector = Collector::start(None);
    let proxy = Proxy::with("otlp-refused", &to(&collector)).await;
    for reply in [Reply::Status(500, 0), Reply::Status(429, 0), Reply::Silence] {
        collector.reply(reply);
        let failed = count(&proxy, FAILED).await;
        proxy.serves(4).await;
        proxy.until_metric(FAILED, |now| now > failed).await;
    }
    assert!(collector.records().is_empty(), "nothing was taken");
    let log = proxy.log();
    assert_eq!(log.matches("audit records do not reach the collector").count(), 1, "{log}");

    collector.reply(Reply::InPart(1));
    let (sent, failed) = (count(&proxy, SENT).await, count(&proxy, FAILED).await);
    proxy.serves(4).await;
    proxy.until_metric(SENT, |now| now > sent).await;
    proxy.until_metric(FAILED, |now| now > failed).await;

    collector.reply(Reply::Taken);
    let id = request_id(&proxy.post(&proxy.token, &streamed(HAIKU)).await);
    collector.record("portcullis.audit.end", &id).await;
    proxy.until_metric("portcullis_otlp_queue_records", |waiting| waiting == 0).await;
    proxy.stop();
}

#[tokio::test]
async fn a_collector_that_is_away_does_not_keep_the_proxy_from_stopping() {
    let collector = Collector::start(None);
    collector.reply(Reply::Silence);
    let section = format!("[telemetry]\notlp = \"http://{}\"\ntimeout = \"60s\"", collector.address());
    let proxy = Proxy::with("otlp-away", &section).await;
    proxy.serves(4).await;
    proxy.until_metric("portcullis_otlp_queue_records", |waiting| waiting > 0).await;
    assert_eq!(count(&proxy, DROPPED).await, 0);
    let started = Instant::now();
    proxy.stop();
    // Two seconds are given to the collector; its own time would be a minute for each try.
    assert!(started.elapsed().as_secs() < 30, "{:?}", started.elapsed());
}

async fn count(proxy: &Proxy, name: &str) -> u64 {
    let metrics = proxy.metrics().await;
    let value = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.map_or(0, |value| value.parse().unwrap())
}
