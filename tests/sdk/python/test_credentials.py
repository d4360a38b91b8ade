"""The caller's credential ends here; the upstream sees only the key that the proxy adds."""

import json

import anthropic
import pytest

from sandbox import HAIKU, NO_AUTHORIZATION, OPUS, question


def test_the_upstream_sees_the_key_and_nothing_of_the_token(sandbox, client, standin, marked, test_id):
    client.messages.create(**question(), extra_headers=marked, extra_query={"beta": "true"})
    seen = standin.seen(test_id)
    (key,) = seen["headers"]["x-api-key"]
    assert key.startswith("sk-ant-")
    assert "authorization" not in seen["headers"]
    assert not any(part in json.dumps(seen) for part in sandbox.token.split("."))


def test_the_key_is_in_no_answer(client, standin, marked, test_id):
    response = client.messages.with_raw_response.create(**question(), extra_headers=marked)
    (key,) = standin.seen(test_id)["headers"]["x-api-key"]
    assert key not in response.text()
    assert key not in str(response.headers)


@pytest.mark.parametrize("style", ["x-api-key", "both"])
def test_other_styles_of_sending_the_token(sandbox, connect, standin, marked, test_id, style):
    headers = {"x-api-key": sandbox.token}
    if style == "both":
        client = connect(auth_token=sandbox.token, default_headers=headers)
    else:
        client = connect(default_headers={**NO_AUTHORIZATION, **headers})
    client.messages.create(**question(), extra_headers=marked)
    assert sandbox.token not in json.dumps(standin.seen(test_id))


def test_two_credentials_that_differ(sandbox, connect):
    client = connect(auth_token=sandbox.token, default_headers={"x-api-key": "another"})
    with pytest.raises(anthropic.AuthenticationError):
        client.messages.create(**question())


def test_a_token_in_the_query_does_not_leave(sandbox, client, standin, marked, test_id):
    with pytest.raises(anthropic.BadRequestError):
        client.messages.create(**question(), extra_headers=marked, extra_query={"token": sandbox.token})
    assert standin.all_seen(test_id) == []


def test_a_token_opens_the_models_of_its_scopes_alone(sandbox, connect):
    client = connect(auth_token=sandbox.sign_token("claude:opus"))
    assert client.messages.create(**question(model=OPUS)).model.startswith(OPUS)
    with pytest.raises(anthropic.PermissionDeniedError):
        client.messages.create(**question(model=HAIKU))


def test_max_tokens_above_the_grant(sandbox, connect):
    client = connect(auth_token=sandbox.sign_token("claude:opus"), timeout=60)
    with pytest.raises(anthropic.PermissionDeniedError):
        client.messages.create(**{**question(model=OPUS), "max_tokens": 32_001})
