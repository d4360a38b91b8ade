"""What Portcullis itself refuses: nothing of it reaches the upstream."""

import anthropic
import pytest

from sandbox import HAIKU, NO_AUTHORIZATION, OPUS, question

ADVISOR = {"type": "advisor_20260301", "name": "advisor", "model": OPUS}
JSON = {"headers": {"Content-Type": "application/json"}}


@pytest.fixture
def refused(standin, marked, test_id):
    """Makes a call that must be refused, and returns the error."""

    def call(expected, create, **arguments):
        with pytest.raises(anthropic.APIStatusError) as raised:
            create(**arguments, extra_headers=marked)
        error = raised.value
        assert type(error) is expected
        assert standin.all_seen(test_id) == []
        assert error.body["type"] == "error"
        assert error.request_id == error.body["request_id"]
        assert error.request_id == error.response.headers["x-portcullis-request-id"]
        assert error.response.headers["content-type"] == "application/json"
        return error

    return call


def test_no_token(connect, refused):
    client = connect(default_headers=NO_AUTHORIZATION)
    error = refused(anthropic.AuthenticationError, client.messages.create, **question())
    assert error.body["error"]["type"] == "authentication_error"
    assert error.response.headers["www-authenticate"].startswith("Bearer")


@pytest.mark.parametrize("token", ["garbage", "a.b.c", "sk-ant-api03-stray-key"])
def test_a_token_that_is_none(connect, refused, token):
    client = connect(auth_token=token)
    error = refused(anthropic.AuthenticationError, client.messages.create, **question())
    assert token not in error.response.text


def test_a_token_with_another_signature(sandbox, connect, refused):
    head, claims, signature = sandbox.token.split(".")
    client = connect(auth_token=f"{head}.{claims}.{signature[::-1]}")
    error = refused(anthropic.AuthenticationError, client.messages.create, **question())
    assert "signature" not in error.response.text


def test_a_refusal_is_not_retried(connect, refused):
    client = connect(auth_token="garbage", max_retries=2)
    error = refused(anthropic.AuthenticationError, client.messages.create, **question())
    assert error.response.request.headers["x-stainless-retry-count"] == "0"


def test_a_model_without_a_grant(client, refused):
    error = refused(anthropic.PermissionDeniedError, client.messages.create, **question(model=OPUS))
    assert error.body["error"]["type"] == "permission_error"
    assert OPUS in error.body["error"]["message"]


def test_counting_for_a_model_without_a_grant(client, refused):
    messages = question()["messages"]
    refused(anthropic.PermissionDeniedError, client.messages.count_tokens, model=OPUS, messages=messages)


def test_showing_a_model_without_a_grant(client, refused):
    refused(anthropic.PermissionDeniedError, client.models.retrieve, model_id=OPUS)


def test_a_fallback_without_a_grant(client, refused):
    fallbacks = [{"model": HAIKU}, {"model": OPUS}]
    refused(anthropic.PermissionDeniedError, client.beta.messages.create, **question(), fallbacks=fallbacks)


def test_an_advisor_without_a_grant(client, refused):
    refused(anthropic.PermissionDeniedError, client.beta.messages.create, **question(tools=[ADVISOR]))


def test_an_advisor_that_is_added_later_without_a_grant(client, refused):
    asked = question()
    addition = {"type": "tool_addition", "tool": {"type": "tool_definition", "definition": ADVISOR}}
    asked["messages"].append({"role": "system", "content": [addition]})
    refused(anthropic.PermissionDeniedError, client.beta.messages.create, **asked)


def test_an_endpoint_without_a_grant(client, refused):
    refused(anthropic.PermissionDeniedError, client.beta.agents.list)


def test_a_path_that_is_unknown(client):
    with pytest.raises(anthropic.NotFoundError) as raised:
        client.get("/v1/does-not-exist", cast_to=object)
    assert raised.value.body["error"]["type"] == "not_found_error"
    assert raised.value.request_id == raised.value.response.headers["x-portcullis-request-id"]


def test_a_body_of_33_mebibytes(client, refused):
    error = refused(anthropic.ContentTooLargeError, client.messages.create, **question("x" * (33 * 1024 * 1024)))
    assert error.body["error"]["type"] == "request_too_large"


@pytest.mark.parametrize(
    "body",
    [
        b'{"model":"claude-haiku-4-5","model":"claude-opus-5-5","max_tokens":9,"messages":[]}',
        b'{"model":"claude-haiku-4-5","\\u006dodel":"claude-opus-5-5","max_tokens":9,"messages":[]}',
        b'{"model":"claude-haiku-4-5","max_tokens":9,"messages":[]',
        b'["claude-haiku-4-5"]',
        b"",
    ],
    ids=["key twice", "key twice in disguise", "cut off", "no object", "nothing"],
)
def test_a_body_that_cannot_be_judged(client, body):
    with pytest.raises(anthropic.BadRequestError) as raised:
        client.post("/v1/messages", cast_to=object, content=body, options=JSON)
    assert raised.value.body["error"]["type"] == "invalid_request_error"
    assert raised.value.request_id.startswith("pcl_")


def test_a_body_in_a_content_encoding(sandbox):
    headers = {"content-type": "application/json", "content-encoding": "gzip"}
    status, _, body = sandbox.send("POST", "/v1/messages", b"\x1f\x8b", headers)
    assert status == 400
    assert b"invalid_request_error" in body
