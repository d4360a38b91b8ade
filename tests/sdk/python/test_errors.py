"""Errors of the upstream: each reaches the caller as the SDK's own class, unchanged."""

import time

import anthropic
import pytest

from sandbox import question, scenario

CLASSES = [
    (400, anthropic.BadRequestError, "invalid_request_error"),
    (401, anthropic.AuthenticationError, "authentication_error"),
    (402, anthropic.PaymentRequiredError, "billing_error"),
    (403, anthropic.PermissionDeniedError, "permission_error"),
    (404, anthropic.NotFoundError, "not_found_error"),
    (409, anthropic.ConflictError, "conflict_error"),
    (413, anthropic.ContentTooLargeError, "request_too_large"),
    (422, anthropic.UnprocessableEntityError, "invalid_request_error"),
    (429, anthropic.RateLimitError, "rate_limit_error"),
    (500, anthropic.InternalServerError, "api_error"),
    (503, anthropic.ServiceUnavailableError, "overloaded_error"),
    (504, anthropic.GatewayTimeoutError, "timeout_error"),
    (529, anthropic.OverloadedError, "overloaded_error"),
]


@pytest.mark.parametrize(("status", "expected", "kind"), CLASSES)
def test_a_status_of_the_upstream_raises_its_class(client, status, expected, kind):
    with pytest.raises(anthropic.APIStatusError) as raised:
        client.messages.create(**question(), extra_headers=scenario(f"status={status}"))
    error = raised.value
    assert type(error) is expected
    assert error.status_code == status
    assert error.body["error"]["type"] == kind
    assert error.request_id == error.body["request_id"] == error.response.headers["request-id"]
    assert error.response.headers["x-portcullis-request-id"]


def test_a_scenario_in_the_models_name_raises_the_same(client):
    with pytest.raises(anthropic.OverloadedError):
        client.messages.create(**question(model="claude-haiku-standin-status-529"))


def test_when_to_retry_reaches_the_client(client):
    with pytest.raises(anthropic.RateLimitError) as raised:
        client.messages.create(**question(), extra_headers=scenario("status=429"))
    assert raised.value.response.headers["retry-after"] == "1"


def test_the_page_of_a_load_balancer_passes_as_it_is(client):
    with pytest.raises(anthropic.InternalServerError) as raised:
        client.messages.create(**question(), extra_headers=scenario("html"))
    assert raised.value.status_code == 502
    assert "<title>502 Bad Gateway</title>" in raised.value.response.text


@pytest.mark.parametrize("fault", ["close", "garbage"])
def test_an_upstream_that_breaks_off_is_a_bad_gateway(client, fault):
    with pytest.raises(anthropic.InternalServerError) as raised:
        client.messages.create(**question(), extra_headers=scenario(fault))
    assert raised.value.status_code == 502
    assert raised.value.body["error"]["type"] == "api_error"
    assert raised.value.request_id.startswith("pcl_")


@pytest.mark.parametrize("retries", [0, 1, 2])
def test_the_client_alone_retries(connect, standin, marked, test_id, retries):
    client = connect(max_retries=retries)
    with pytest.raises(anthropic.InternalServerError):
        client.messages.create(**question(), extra_headers={**marked, **scenario("status=500")})
    counts = [seen["headers"]["x-stainless-retry-count"] for seen in standin.all_seen(test_id)]
    assert counts == [[str(attempt)] for attempt in range(retries + 1)]


def test_a_retry_waits_as_long_as_the_upstream_asks(connect, standin, marked, test_id):
    client = connect(max_retries=1)
    begun = time.monotonic()
    with pytest.raises(anthropic.RateLimitError):
        client.messages.create(**question(), extra_headers={**marked, **scenario("status=429")})
    assert time.monotonic() - begun >= 1
    assert len(standin.all_seen(test_id)) == 2


def test_a_slow_upstream_is_waited_for(client):
    message = client.messages.create(**question("slow"), extra_headers=scenario("delay=1500"))
    assert message.content[0].text == "You said: slow"


def test_the_clients_own_timeout_ends_the_call(connect):
    client = connect(timeout=0.3)
    with pytest.raises(anthropic.APITimeoutError):
        client.messages.create(**question(), extra_headers=scenario("delay=5000"))
