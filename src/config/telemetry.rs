//! `[telemetry]`: where records and measurements are sent.

use std::time::Duration;

use http::{HeaderName, HeaderValue};
use reqwest::Url;

use super::reader::Section;
use super::traces::TracesConfig;
use super::{pem, traces};

/// Where records and measurements are sent.
pub struct TelemetryConfig {
    /// The collector; `None`: nothing is sent.
    pub otlp: Option<OtlpConfig>,
    /// Which requests are traced; `None`: none is. They need a collector.
    pub traces: Option<TracesConfig>,
    /// Subjects that metrics show by name.
    pub top_subjects: usize,
    /// Teams that metrics show by name.
    pub top_teams: usize,
}

/// A collector that speaks OTLP over HTTP with protobuf bodies, and what it is told of us.
pub struct OtlpConfig {
    /// The base of the collector's paths: records go to `v1/logs` below it, spans to `v1/traces`.
    pub endpoint: Url,
    /// Certificates (PEM) that the collector's chain must end in; `None` for the system's roots.
    pub ca: Option<Vec<u8>>,
    /// Sent with every request; the values are sensitive.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// The resource's `service.name`.
    pub service_name: String,
    /// Further attributes of the resource.
    pub resource: Vec<(String, String)>,
    /// Whether audit records are sent.
    pub logs: bool,
    /// Bound on one try to send a batch.
    pub timeout: Duration,
    /// Bound on the bytes of records that wait, and on those of what spans are made of.
    pub queue: usize,
}

pub(super) fn read(root: &Section<'_>) -> Option<TelemetryConfig> {
    root.table("telemetry", |section| {
        let top = |key| {
            let names = section.number(key).unwrap_or(DEFAULT_TOP);
            if names > MOST_TOP {
                section.fault(key, "is more than metrics can show", "give at most 1000, or read the audit log");
            }
            usize::try_from(names).unwrap_or_default()
        };
        let (top_subjects, top_teams) = (top("top_subjects"), top("top_teams"));
        let otlp = otlp(section);
        let traces = section.table("traces", |traces| traces::read(traces, section.has("otlp")));
        Some(TelemetryConfig { otlp: otlp?, traces: traces?, top_subjects, top_teams })
    })
}

const DEFAULT_TOP: u64 = 20;
const MOST_TOP: u64 = 1000;

#[allow(clippy::option_option)] // none at all, or one that is wrong
fn otlp(section: &Section<'_>) -> Option<Option<OtlpConfig>> {
    let headers: Option<Vec<_>> = section.tables("header", header).into_iter().collect();
    let ca = section.has("ca").then(|| {
        let ca = section.file("ca")?;
        section.usable("ca", pem::authorities(&ca).map(|_| ca))
    });
    let resource = section
        .members("resource", "text in quotes", |name, value| Some((name.to_owned(), value.as_str()?.to_owned())));
    let service_name = section.text("service_name").unwrap_or_else(|| "portcullis".to_owned());
    let logs = section.flag("logs").unwrap_or(true);
    let timeout = section.nonzero_duration("timeout").unwrap_or(Duration::from_secs(10));
    let queue = section.size("queue").unwrap_or(16 << 20);
    if !section.has("otlp") {
        for key in ["header", "ca"] {
            if section.has(key) {
                section.fault(key, "has no otlp", "add otlp = \"https://collector:4318\", or take it out");
            }
        }
        return Some(None);
    }
    let endpoint = endpoint(section)?;
    if service_name.is_empty() {
        section.fault("service_name", "is empty", "give it a value");
    }
    if queue < SMALLEST_QUEUE {
        section.fault("queue", "holds hardly a record", "give it at least \"1MiB\"");
    }
    let plain = endpoint.scheme() == "http";
    if plain && section.has("ca") {
        section.fault("ca", "is of no use without TLS", "write https:// in otlp, or take it out");
    }
    if plain && section.has("header") && !is_loopback(&endpoint) {
        section.fault("header", "would go in plain text to another host", "write https:// in otlp");
    }
    let ca = match ca {
        Some(ca) => Some(ca?),
        None => None,
    };
    Some(Some(OtlpConfig { endpoint, ca, headers: headers?, service_name, resource, logs, timeout, queue }))
}

const SMALLEST_QUEUE: usize = 1 << 20;

fn endpoint(section: &Section<'_>) -> Option<Url> {
    let text = section.required_text("otlp")?;
    let url = Url::parse(&text).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    let Some(mut url) = url else {
        section.fault("otlp", "is no URL of a collector", "write \"https://collector:4318\"");
        return None;
    };
    if !url.username().is_empty() || url.password().is_some() || url.query().is_some() || url.fragment().is_some() {
        section.fault(
            "otlp",
            "has more than scheme, host, port and path",
            "put a credential into [[telemetry.header]]",
        );
        return None;
    }
    if !url.path().ends_with('/') {
        let path = format!("{}/", url.path());
        url.set_path(&path);
    }
    Some(url)
}

fn header(section: &Section<'_>) -> Option<(HeaderName, HeaderValue)> {
    let (name, secret) =
        (section.required_text("name"), section.required("secret").and_then(|()| section.secret("secret")));
    let name = name.and_then(|name| {
        let parsed = name.parse().ok();
        if parsed.is_none() {
            section.fault("name", "is no name of a header", "write one such as \"authorization\"");
        }
        parsed
    });
    let value = secret.and_then(|secret| {
        let value = HeaderValue::from_bytes(secret.expose()).ok();
        if value.is_none() {
            section.fault("secret", "holds what no header can", "check what the reference points at");
        }
        value
    });
    let (name, mut value): (HeaderName, HeaderValue) = (name?, value?);
    value.set_sensitive(true);
    Some((name, value))
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::reader::Document;

    fn parse(text: &str) -> Result<TelemetryConfig, String> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("token"), "Bearer hunter2").unwrap();
        let path: &Path = &folder.path().join("portcullis.toml");
        Document::new(path, text.to_owned()).read(read).map_err(|faults| faults.to_string())
    }

    #[test]
    fn a_collector_is_read_with_its_defaults() {
        assert!(parse("").unwrap().otlp.is_none());
        let tops = |text: &str| parse(text).map(|config| (config.top_subjects, config.top_teams)).unwrap();
        assert_eq!((tops(""), tops("[telemetry]\ntop_subjects = 0\ntop_teams = 3")), ((20, 20), (0, 3)));
        let otlp = parse("[telemetry]\notlp = \"http://collector:4318\"").unwrap().otlp.unwrap();
        assert_eq!((otlp.endpoint.as_str(), otlp.logs), ("http://collector:4318/", true));
        assert_eq!((otlp.service_name.as_str(), otlp.queue), ("portcullis", 16 << 20));
        let text = "[telemetry]\notlp = \"https://c/base\"\nresource = { \"deployment.environment.name\" = \"prod\" }\n[[telemetry.header]]\nname = \"authorization\"\nsecret = { file = \"token\" }";
        let otlp = parse(text).unwrap().otlp.unwrap();
        assert_eq!(otlp.endpoint.join("v1/logs").unwrap().as_str(), "https://c/base/v1/logs");
        assert_eq!(otlp.resource, [("deployment.environment.name".to_owned(), "prod".to_owned())]);
        assert_eq!(otlp.headers.len(), 1);
        assert!(!format!("{:?}", otlp.headers).contains("hunter2"));
    }

    #[test]
    fn traces_are_off_until_they_are_asked_for() {
        use crate::config::{AnswerHeader, TraceSource};
        let with = |text: &str| parse(&format!("[telemetry]\notlp = \"http://collector:4318\"\n{text}"));
        assert_eq!(with("").unwrap().traces, None);
        assert_eq!(with("[telemetry.traces]\nratio = 1.0").unwrap().traces, None);
        let expected = TracesConfig {
            ratio: 0.01,
            on_error: true,
            accept: TraceSource::Never,
            propagate_upstream: false,
            answer_header: AnswerHeader::None,
            subject: false,
        };
        assert_eq!(with("[telemetry.traces]\nenabled = true").unwrap().traces, Some(expected));
        for (ratio, expected) in [("0", 0.0), ("1", 1.0), ("0.25", 0.25), ("1e-3", 0.001)] {
            let traces = with(&format!("[telemetry.traces]\nenabled = true\nratio = {ratio}")).unwrap().traces.unwrap();
            assert!((traces.ratio - expected).abs() < f64::EPSILON, "{ratio}");
        }
    }

    #[test]
    fn what_cannot_be_used_is_a_fault() {
        let header = "[[telemetry.header]]\nname = \"authorization\"\nsecret = { file = \"token\" }";
        for (text, expected) in [
            ("top_subjects = 1001", "telemetry.top_subjects: is more than"),
            ("otlp = \"collector:4318\"", "telemetry.otlp: is no URL"),
            ("otlp = \"https://u:p@collector\"", "telemetry.otlp: has more than"),
            ("ca = \"token\"", "telemetry.ca: holds no certificate"),
            ("otlp = \"http://collector\"\nqueue = \"1KiB\"", "telemetry.queue: holds hardly"),
            ("otlp = \"https://c\"\nresource = { a = 1 }", "telemetry.resource.a: is not text"),
            (&format!("otlp = \"http://collector\"\n{header}"), "telemetry.header: would go in plain text"),
            (header, "telemetry.header: has no otlp"),
            (
                "otlp = \"https://c\"\n[[telemetry.header]]\nname = \"a b\"\nsecret = { file = \"token\" }",
                "is no name of a header",
            ),
            ("otlp = \"https://c\"\n[[telemetry.header]]\nname = \"a\"\nsecret = \"hunter2\"", "is a value"),
            ("[telemetry.traces]\nenabled = true", "telemetry.traces.enabled: has no collector"),
            (
                "otlp = \"http://c\"\n[telemetry.traces]\nratio = 1.1",
                "telemetry.traces.ratio: is not a number from 0 to 1",
            ),
            ("otlp = \"http://c\"\n[telemetry.traces]\nratio = nan", "telemetry.traces.ratio: is not a number"),
            ("otlp = \"http://c\"\n[telemetry.traces]\nratio = -1", "telemetry.traces.ratio: is not a number"),
            ("otlp = \"http://c\"\n[telemetry.traces]\nratio = \"1\"", "telemetry.traces.ratio: is not a number"),
            (
                "otlp = \"http://c\"\n[telemetry.traces]\nenabled = true\nratio = 0\non_error = false",
                "telemetry.traces.ratio: samples nothing",
            ),
            ("otlp = \"http://c\"\n[telemetry.traces]\naccept = \"all\"", "telemetry.traces.accept: is not"),
            (
                "otlp = \"http://c\"\n[telemetry.traces]\nanswer_header = \"b3\"",
                "telemetry.traces.answer_header: is not",
            ),
            ("otpl = \"https://c\"", "telemetry.otpl: unknown key"),
        ] {
            let faults = parse(&format!("[telemetry]\n{text}")).err().unwrap_or_default();
            assert!(faults.contains(expected) && !faults.contains("hunter2"), "{text}: {faults}");
        }
    }
}
