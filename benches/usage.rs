//! Counting usage beside the relay: a stream of 200 events, and a plain answer.

use std::fmt::Write as _;
use std::hint::black_box;

use criterion::{Criterion, Throughput};
use portcullis::claude::AnswerReader;

const USAGE: &str = r#"{"input_tokens":1234,"output_tokens":1,"cache_creation_input_tokens":10,"cache_read_input_tokens":5,"cache_creation":{"ephemeral_5m_input_tokens":10,"ephemeral_1h_input_tokens":0},"service_tier":"standard"}"#;

fn stream(deltas: usize) -> String {
    let mut text = format!(
        "event: message_start\ndata: {{\"type\":\"message_start\",\"message\":{{\"id\":\"msg_1\",\"model\":\"claude-opus-5-5\",\"usage\":{USAGE}}}}}\n\n"
    );
    for number in 0..deltas {
        let _ = write!(
            text,
            "event: content_block_delta\ndata: {{\"type\":\"content_block_delta\",\"index\":0,\"delta\":{{\"type\":\"text_delta\",\"text\":\"some words of an answer {number}\"}}}}\n\n"
        );
    }
    let _ = write!(
        text,
        "event: message_delta\ndata: {{\"type\":\"message_delta\",\"delta\":{{\"stop_reason\":\"end_turn\"}},\"usage\":{USAGE}}}\n\nevent: message_stop\ndata: {{\"type\":\"message_stop\"}}\n\n"
    );
    text
}

fn read_texts(content_type: &[u8], chunks: &[&[u8]]) -> usize {
    let mut reader = AnswerReader::new(Some(content_type));
    let mut bytes = 0;
    for chunk in chunks {
        reader.feed_with(black_box(chunk), |_, text, _| bytes += text.len());
    }
    bytes
}

fn read(content_type: &[u8], chunks: &[&[u8]]) -> AnswerReader {
    let mut reader = AnswerReader::new(Some(content_type));
    for chunk in chunks {
        reader.feed(black_box(chunk));
    }
    reader
}

pub fn benches(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("usage");
    let text = stream(200);
    let events: Vec<&[u8]> = text.split_inclusive("\n\n").map(str::as_bytes).collect();
    group.throughput(Throughput::Elements(events.len() as u64));
    group.bench_function("sse_200_events", |bencher| bencher.iter(|| read(b"text/event-stream", &events).answer()));
    group.bench_function("sse_200_events_texts", |bencher| bencher.iter(|| read_texts(b"text/event-stream", &events)));

    let answer = format!(
        r#"{{"content":[{{"type":"text","text":"{}"}}],"model":"claude-opus-5-5","usage":{USAGE}}}"#,
        "word ".repeat(2000)
    );
    group.throughput(Throughput::Bytes(answer.len() as u64));
    group.bench_function("json_10KB", |bencher| {
        bencher.iter(|| read(b"application/json", &[answer.as_bytes()]).answer());
    });
    group.bench_function("json_10KB_texts", |bencher| {
        bencher.iter(|| read_texts(b"application/json", &[answer.as_bytes()]));
    });
}
