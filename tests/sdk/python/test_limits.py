"""What callers see of their limits: the right exception, a retry only where it is worth it, and how they stand."""

import time

import anthropic
import pytest

from sandbox import HAIKU, PATIENCE_SECONDS, question, scenario

# What the limit of the team `hour` is told as.
OWN_LIMITS = ("anthropic-ratelimit-requests-", "anthropic-ratelimit-output-tokens-")


def attempts(error):
    """How often the SDK asked before it raised."""
    return int(error.response.request.headers["x-stainless-retry-count"]) + 1


def exhaust(client):
    """Calls until a limit refuses, and returns the error."""
    with pytest.raises(anthropic.APIStatusError) as raised:
        for _ in range(50):
            client.messages.create(**question())
    return raised.value


def test_a_limit_that_is_reached_says_when_to_come_back(caller):
    error = exhaust(caller("second"))
    assert type(error) is anthropic.RateLimitError
    assert error.status_code == 429
    assert error.body["error"]["type"] == "rate_limit_error"
    assert int(error.response.headers["retry-after"]) in (1, 2)
    assert error.response.headers["anthropic-ratelimit-requests-remaining"] == "0"
    assert "x-should-retry" not in error.response.headers
    assert error.request_id == error.body["request_id"]


def test_a_wait_of_seconds_is_waited_for(caller):
    client = caller("second", max_retries=2)
    begun = time.monotonic()
    for _ in range(3):
        assert client.messages.create(**question()).stop_reason == "end_turn"
    assert 2 <= time.monotonic() - begun < 10


def test_a_wait_of_an_hour_is_not(caller):
    client = caller("hour", max_retries=2)
    begun = time.monotonic()
    error = exhaust(client)
    assert time.monotonic() - begun < PATIENCE_SECONDS
    assert attempts(error) == 1
    assert type(error) is anthropic.RateLimitError
    assert error.response.headers["x-should-retry"] == "false"
    assert int(error.response.headers["retry-after"]) > 60


def test_a_request_above_a_whole_limit_is_not_retried(caller):
    client = caller("hour", max_retries=2)
    with pytest.raises(anthropic.RateLimitError) as raised:
        client.messages.create(**{**question(), "max_tokens": 1001})
    assert attempts(raised.value) == 1
    assert "this request alone" in raised.value.body["error"]["message"].lower()
    assert "retry-after" not in raised.value.response.headers


def test_a_budget_that_is_spent_is_asked_for_once(proxy, caller):
    client = caller("budget", max_retries=2)
    refused_before = proxy.denied("budget_spent")
    error = exhaust(client)
    assert type(error) is anthropic.RateLimitError
    assert error.status_code == 429
    assert error.body["error"]["type"] == "billing_error"
    assert attempts(error) == 1
    assert error.response.headers["x-should-retry"] == "false"
    assert error.response.headers["anthropic-ratelimit-unified-status"] == "rejected"
    with pytest.raises(anthropic.RateLimitError):
        client.messages.create(**question())
    # A record is made after its answer, so that the last one may be on its way yet.
    assert 1 <= proxy.denied("budget_spent") - refused_before <= 2


def test_a_spent_budget_leaves_what_is_free(caller):
    client = caller("budget")
    exhaust(client)
    assert client.messages.count_tokens(model=HAIKU, messages=question()["messages"]).input_tokens > 0
    assert [model.id for model in client.models.list()]


def test_a_caller_is_told_of_its_own_limits_alone(caller):
    client = caller("hour")
    for remaining in ["1", "0"]:
        headers = client.messages.with_raw_response.create(**question()).headers
        assert headers["anthropic-ratelimit-requests-limit"] == "2"
        assert headers["anthropic-ratelimit-requests-remaining"] == remaining
        assert headers["anthropic-ratelimit-requests-reset"].endswith("Z")
        assert headers["anthropic-ratelimit-output-tokens-limit"] == "1000"
        told = [name for name in headers if name.startswith(("anthropic-ratelimit-", "anthropic-priority-"))]
        assert all(name.startswith(OWN_LIMITS) for name in told), told
        assert "anthropic-organization-id" not in headers


def test_without_limits_nothing_is_told(caller):
    headers = caller().messages.with_raw_response.create(**question()).headers
    assert not [name for name in headers if name.startswith("anthropic-ratelimit-")]


def test_a_stream_that_spends_its_limit_raises_in_the_middle(caller):
    # The stand-in writes as much as it is told to, whatever max_tokens says.
    asked = {**question(), "max_tokens": 3}
    stream = caller("cut").messages.create(**asked, stream=True, extra_headers=scenario("events=400; gap=5"))
    seen = []
    with pytest.raises(anthropic.APIStatusError) as raised:
        for event in stream:
            seen.append(event.type)
    assert seen[:3] == ["message_start", "content_block_start", "content_block_delta"]
    assert "message_stop" not in seen
    assert raised.value.body["type"] == "error"
    assert raised.value.body["error"]["type"] == "rate_limit_error"
    assert "output tokens" in raised.value.body["error"]["message"]


def test_the_helper_for_streams_raises_too(caller):
    asked = {**question(), "max_tokens": 3}
    with (
        pytest.raises(anthropic.APIStatusError) as raised,
        caller("cut").messages.stream(**asked, extra_headers=scenario("events=400; gap=5")) as stream,
    ):
        stream.get_final_message()
    assert raised.value.body["error"]["type"] == "rate_limit_error"
