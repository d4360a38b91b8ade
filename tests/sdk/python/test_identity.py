"""What callers see of their tokens and grants: who must sign in again is told so, and what is not granted is named."""

import time

import anthropic
import pytest
from anthropic import AccessToken

from sandbox import HAIKU, PATIENCE_SECONDS, question


def test_an_expired_token_asks_for_a_new_one(proxy, caller):
    client = caller(auth_token=proxy.sign_token("claude:haiku", lifetime="1ms"), max_retries=2)
    with pytest.raises(anthropic.AuthenticationError) as raised:
        client.messages.create(**question())
    assert raised.value.status_code == 401
    assert raised.value.body["error"]["type"] == "authentication_error"
    assert "expired" in raised.value.body["error"]["message"]
    assert raised.value.response.headers["www-authenticate"].startswith("Bearer")
    assert raised.value.response.request.headers["x-stainless-retry-count"] == "0"


def test_a_token_that_expires_between_two_calls(proxy, caller):
    client = caller(auth_token=proxy.sign_token("claude:haiku", lifetime="4s"))
    assert client.messages.create(**question()).stop_reason == "end_turn"
    until_refused(client)


def test_the_sdk_gets_a_new_token_by_itself(proxy, test_id):
    expired = proxy.sign_token("claude:haiku", test_id, lifetime="1ms")
    tokens = iter([expired, proxy.sign_token("claude:haiku", test_id)])
    asked = []

    def sign_in(*, force_refresh=False):
        asked.append(force_refresh)
        return AccessToken(next(tokens))

    with proxy.client(credentials=sign_in, max_retries=1) as client:
        assert client.messages.create(**question()).stop_reason == "end_turn"
    assert asked == [False, True]


def test_a_revoked_token_asks_for_a_new_one(proxy, caller, test_id):
    client = caller()
    assert client.messages.create(**question()).stop_reason == "end_turn"
    proxy.revoke({"subjects": [test_id]})
    error = until_refused(client)
    assert error.body["error"]["type"] == "authentication_error"
    assert "Get a new one" in error.body["error"]["message"]
    assert error.response.headers["www-authenticate"].startswith("Bearer")
    assert caller(auth_token=proxy.sign_token("claude:haiku")).messages.create(**question())


def until_refused(client):
    """Calls until the token is good no longer, and returns the error."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    with pytest.raises(anthropic.AuthenticationError) as raised:
        while time.monotonic() < deadline:
            client.messages.create(**question())
    return raised.value


@pytest.mark.parametrize(
    ("asked", "named"),
    [
        ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, "`web_search`"),
        ({"tools": [{"type": "code_execution_20250825", "name": "code_execution"}]}, "`code_execution`"),
        ({"mcp_servers": [{"type": "url", "url": "https://mcp.example", "name": "x"}]}, "`mcp_servers`"),
        ({"betas": ["mcp-client-2025-11-20"]}, "`mcp-client-2025-11-20`"),
        ({"thinking": {"type": "enabled", "budget_tokens": 2001}, "max_tokens": 4096}, "at most 2000"),
        ({"container": {"skills": [{"type": "anthropic", "skill_id": "pdf"}]}}, "skills"),
    ],
    ids=["web search", "code execution", "MCP servers", "a beta", "thinking", "skills"],
)
def test_what_is_not_granted_is_named(caller, asked, named):
    client = caller(scope="test:narrow", max_retries=2)
    with pytest.raises(anthropic.PermissionDeniedError) as raised:
        client.beta.messages.create(**{**question(), **asked})
    assert raised.value.body["error"]["type"] == "permission_error"
    assert named in raised.value.body["error"]["message"]
    assert raised.value.response.request.headers["x-stainless-retry-count"] == "0"


def test_what_is_granted_passes_all_the_same(caller):
    client = caller(scope="test:narrow")
    tool = {"name": "weather", "input_schema": {"type": "object"}}
    message = client.beta.messages.create(**question(tools=[tool]), betas=["context-1m-2025-08-07"])
    assert message.model.startswith(HAIKU)


@pytest.mark.parametrize("elsewhere", [{}, {"inference_geo": "eu"}], ids=["anywhere", "another region"])
def test_a_region_that_is_required(caller, elsewhere):
    client = caller(scope="test:resident")
    assert client.messages.create(**question(), inference_geo="us").stop_reason
    with pytest.raises(anthropic.PermissionDeniedError) as raised:
        client.messages.create(**question(), **elsewhere)
    assert "inference_geo" in raised.value.body["error"]["message"]


def test_models_are_those_of_the_grant(caller):
    models = [model.id for model in caller(scope="test:narrow").models.list(limit=1)]
    assert models
    assert all(model.startswith("claude-haiku-") for model in models)
