"""Answers as server-sent events: whole, in time, and honest when they end badly."""

import time

import anthropic
import httpx2
import pytest

from sandbox import question, scenario
from test_messages import THINKING

WHOLE_ANSWER = ["message_start", "content_block_start", *["content_block_delta"] * 5]
WHOLE_ANSWER += ["content_block_stop", "message_delta", "message_stop"]
# What the SDK raises for a broken transfer or for the error event in its place.
BROKEN_OFF = (anthropic.APIError, httpx2.TransportError)


def test_raw_events_come_in_order(client):
    stream = client.messages.create(**question(), stream=True)
    assert [event.type for event in stream] == WHOLE_ANSWER


def test_a_stream_names_both_request_ids(client):
    with client.messages.create(**question(), stream=True) as stream:
        headers = stream.response.headers
    assert headers["request-id"].startswith("req_")
    assert headers["x-portcullis-request-id"].startswith("pcl_")


def test_the_helper_yields_text_and_then_the_message(client):
    with client.messages.stream(**question("Good morning")) as stream:
        text = "".join(stream.text_stream)
        message = stream.get_final_message()
    assert text == message.content[0].text == "You said: Good morning"
    assert message.stop_reason == "end_turn"
    assert message.usage.output_tokens > 0


def test_thinking_is_streamed(client):
    with client.messages.stream(**question(**THINKING)) as stream:
        kinds = {event.type for event in stream}
        thought, answer = stream.get_final_message().content
    assert {"thinking", "signature", "text"} <= kinds
    assert thought.thinking
    assert thought.signature
    assert answer.text


def test_a_noisy_stream_is_still_understood(client):
    with client.messages.stream(**question("Hello"), extra_headers=scenario("noisy")) as stream:
        assert stream.get_final_message().content[0].text == "You said: Hello"


def test_a_long_stream_arrives_whole(client):
    with client.messages.stream(**question(), extra_headers=scenario("events=2000; size=1000000")) as stream:
        deltas = sum(event.type == "content_block_delta" for event in stream)
        assert deltas == 2000
        assert len(stream.get_final_text()) == 1_000_000


def test_events_arrive_while_the_answer_is_still_being_written(client, standin, marked, test_id):
    headers = {**marked, **scenario("gap=50; events=20")}
    stream = client.messages.create(**question(), stream=True, extra_headers=headers)
    next(stream)
    first_arrived = time.time_ns() // 1000
    for _ in stream:
        pass
    written = standin.finished(test_id)["events"]
    assert len(written) > 20
    assert written[0] < first_arrived < written[-1]


def test_a_client_that_leaves_ends_the_upstreams_work(client, standin, marked, test_id):
    headers = {**marked, **scenario("events=1000; gap=20")}
    with client.messages.create(**question(), stream=True, extra_headers=headers) as stream:
        assert next(stream).type == "message_start"
        assert next(stream).type == "content_block_start"
    assert len(standin.finished(test_id)["events"]) < 1000
    assert client.messages.create(**question()).stop_reason == "end_turn"


def test_a_cut_stream_raises(client):
    stream = client.messages.create(**question(), stream=True, extra_headers=scenario("cut=4"))
    seen = []
    with pytest.raises(BROKEN_OFF):
        for event in stream:
            seen.append(event.type)
    assert seen == WHOLE_ANSWER[:3]


def test_a_stream_cut_by_the_models_name_raises(client):
    with pytest.raises(BROKEN_OFF):
        list(client.messages.create(**question(model="claude-haiku-standin-cut-3"), stream=True))


def test_an_answer_cut_in_the_middle_of_its_json_raises(client):
    with pytest.raises(BROKEN_OFF):
        client.messages.create(**question(), extra_headers=scenario("cut=1"))


def test_an_error_event_raises(client):
    stream = client.messages.create(**question(), stream=True, extra_headers=scenario("sse_error=4"))
    seen = []
    with pytest.raises(anthropic.APIStatusError) as raised:
        for event in stream:
            seen.append(event.type)
    assert seen == WHOLE_ANSWER[:3]
    assert raised.value.body["error"]["type"] == "overloaded_error"


def test_a_refused_stream_raises_before_the_first_event(client):
    with pytest.raises(anthropic.OverloadedError):
        client.messages.create(**question(), stream=True, extra_headers=scenario("status=529"))
