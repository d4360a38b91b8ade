use super::*;
use crate::audit::sample::{full, minimal};
use crate::audit::{Event, Record};
use crate::config::OtlpConfig;

fn config(ratio: f64, on_error: bool, accept: TraceSource) -> TracesConfig {
    TracesConfig {
        ratio,
        on_error,
        accept,
        propagate_upstream: false,
        answer_header: AnswerHeader::None,
        subject: false,
    }
}

fn tracer(ratio: f64, on_error: bool, accept: TraceSource) -> Tracer {
    let otlp = OtlpConfig {
        endpoint: "http://127.0.0.1:9".parse().unwrap(),
        ca: None,
        headers: Vec::new(),
        service_name: "test".to_owned(),
        resource: Vec::new(),
        logs: false,
        timeout: std::time::Duration::from_secs(1),
        queue: 1 << 20,
    };
    let _ = rustls::crypto::ring::default_provider().install_default();
    let origin = crate::telemetry::Origin::of(&otlp);
    let metrics = crate::telemetry::Metrics::new().unwrap().otlp_spans;
    let (export, spans) = crate::telemetry::SpanExport::start(&otlp, &origin, metrics).unwrap();
    drop(export);
    Tracer::new(config(ratio, on_error, accept), vec!["10.0.0.0/8".parse().unwrap()], std::sync::Arc::new(spans))
}

fn of_caller(flags: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert("traceparent", sample::PARENT.replace("-01", flags).parse().unwrap());
    headers.insert("tracestate", "vendor=1".parse().unwrap());
    headers
}

const PROXY: Option<IpAddr> = Some(IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1)));
const STRANGER: Option<IpAddr> = Some(IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1)));

#[test]
fn only_those_who_are_believed_bring_their_trace() {
    for (accept, peer, believed) in [
        (TraceSource::Never, PROXY, false),
        (TraceSource::TrustedProxies, PROXY, true),
        (TraceSource::TrustedProxies, Some("::ffff:10.0.0.1".parse().unwrap()), true),
        (TraceSource::TrustedProxies, STRANGER, false),
        (TraceSource::TrustedProxies, None, false),
        (TraceSource::Always, STRANGER, true),
    ] {
        let trace = tracer(0.0, false, accept).begin(peer, &of_caller("-01"));
        let ours = (trace.parent().is_some(), trace.is_sampled(), trace.state().is_some());
        assert_eq!(ours, (believed, believed, believed), "{accept:?} {peer:?}");
        assert_eq!(trace.id().to_string() == "4bf92f3577b34da6a3ce929d0e0e4736", believed);
    }
}

#[test]
fn a_caller_decides_for_its_trace_and_the_ratio_for_new_ones() {
    let all = tracer(1.0, false, TraceSource::Always);
    assert!(!all.begin(None, &of_caller("-00")).is_sampled());
    assert!(all.begin(None, &of_caller("-01")).is_sampled());
    assert!(all.begin(None, &HeaderMap::new()).is_sampled());
    let none = tracer(0.0, false, TraceSource::Always);
    assert!(none.begin(None, &of_caller("-01")).is_sampled());
    assert!(!none.begin(None, &HeaderMap::new()).is_sampled());
}

#[test]
fn a_ratio_is_kept_and_a_higher_one_samples_what_a_lower_one_does() {
    assert_eq!((threshold(1.0), threshold(0.0)), (0, NEVER));
    let ids = RandomIdGenerator::default();
    let draws = 20_000;
    let (mut tenth, mut half) = (0, 0);
    for _ in 0..draws {
        let bits = randomness(ids.new_trace_id());
        assert!(bits < NEVER);
        let (low, high) = (bits >= threshold(0.1), bits >= threshold(0.5));
        assert!(high || !low);
        tenth += u32::from(low);
        half += u32::from(high);
    }
    // Six standard deviations: once in five hundred million runs.
    assert!((1750..2250).contains(&tenth), "{tenth}");
    assert!((9570..10430).contains(&half), "{half}");
}

#[test]
fn a_failure_is_sampled_after_the_fact() {
    let headers = HeaderMap::new();
    let tracer_of = |on_error| tracer(0.0, on_error, TraceSource::Always);
    assert_eq!(tracer_of(true).conclude(None, false, None, &headers), None);
    assert_eq!(tracer_of(false).conclude(None, true, None, &headers), None);
    assert!(tracer_of(true).conclude(None, true, None, &headers).unwrap().is_sampled());
    // Not sampled, and a record names it: others have it.
    let known = tracer_of(false).begin(None, &headers);
    assert_eq!(tracer_of(false).conclude(Some(known.clone()), true, None, &headers), Some(known));
    let of_another = tracer_of(false).conclude(None, false, None, &of_caller("-00")).unwrap();
    assert!(!of_another.is_sampled() && of_another.parent().is_some());
    assert!(tracer_of(true).conclude(None, true, None, &of_caller("-00")).unwrap().is_sampled());
}

#[test]
fn headers_name_a_span_of_the_trace() {
    let trace = sample::trace();
    let value = trace.header(trace.attempt(1)).unwrap();
    assert_eq!(value, "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000001002-03");
    let parent = TraceParent::parse(value.as_bytes()).unwrap();
    assert_eq!((parent.trace, parent.span), (trace.id(), trace.attempt(1)));
    let last = Trace { span: u64::MAX.into(), ..trace };
    assert_ne!(last.attempt(0), SpanId::INVALID);
}

#[test]
fn errors_are_those_of_the_conventions() {
    let served = |status| Record { status: Some(status), ..minimal(Event::End) };
    let broken = |reason| Record { reason: Some(reason), complete: false, ..served(200) };
    let upstream = |error_type: &str| Record { error_type: Some(error_type.to_owned()), ..served(200) };
    let refused = |status| Record { status: Some(status), ..minimal(Event::Refused) };
    for (record, of_upstream, request, attempt) in [
        (served(200), Some(200), None, None),
        (served(400), Some(400), None, Some("400")),
        (served(529), Some(529), Some("529"), Some("529")),
        (refused(403), None, None, None),
        (refused(503), None, Some("model_forbidden"), None),
        (broken("client_left"), Some(200), None, None),
        (broken("upstream_failed"), Some(200), Some("upstream_failed"), Some("upstream_failed")),
        (upstream("overloaded_error"), Some(200), Some("overloaded_error"), Some("overloaded_error")),
        (minimal(Event::Left), None, None, None),
        (minimal(Event::Answered), None, None, None),
    ] {
        let text = |error: Option<String>| error.unwrap_or_default();
        assert_eq!(text(request_error(&record)), request.unwrap_or_default(), "{record:?}");
        assert_eq!(text(attempt_error(&record, of_upstream)), attempt.unwrap_or_default(), "{record:?}");
    }
    let failed = Record { status: Some(502), reason: Some("upstream_failed"), complete: false, ..served(502) };
    assert_eq!(attempt_error(&failed, None).as_deref(), Some("upstream_failed"));
}

#[test]
fn nothing_waits_that_says_what_was_said_or_who_said_it() {
    let ended = sample::ended_with(full(), 1, false);
    let record = &ended.record;
    assert_eq!((&record.prompt, &record.response, &record.detail), (&None, &None, &None));
    assert_eq!((&record.subject, &record.client), (&None, &None));
    let named = sample::ended_with(full(), 1, true);
    assert_eq!(named.record.subject.as_deref(), Some("alice"));
    assert!(named.bytes() > ended.bytes());
}
