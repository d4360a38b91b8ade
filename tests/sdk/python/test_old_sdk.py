"""A few calls of the SDK's older line, which many still use: another header for the credential, and `?beta=true`."""

import anthropic
import pytest

from sandbox import HAIKU, OPUS, question, scenario

pytestmark = pytest.mark.skipif(not anthropic.__version__.startswith("0."), reason="needs the old SDK")


@pytest.fixture
def old_client(sandbox, connect):
    """As old clients are set up for a gateway: the token in place of an API key."""
    return connect(auth_token=None, api_key=sandbox.token)


def test_the_token_as_api_key_is_replaced(sandbox, old_client, standin, marked, test_id):
    message = old_client.messages.create(**question("Good morning"), extra_headers=marked)
    assert message.content[0].text == "You said: Good morning"
    seen = standin.seen(test_id)["headers"]
    assert seen["anthropic-version"] == ["2023-06-01"]
    assert seen["x-api-key"] != [sandbox.token]
    assert "authorization" not in seen


def test_the_token_as_auth_token(connect):
    assert connect().messages.create(**question()).stop_reason == "end_turn"


def test_a_key_and_a_token_that_differ(sandbox, connect):
    client = connect(auth_token=sandbox.token, api_key="sk-ant-api03-stray-key")
    with pytest.raises(anthropic.AuthenticationError):
        client.messages.create(**question())


def test_a_stream(old_client):
    with old_client.messages.stream(**question("Good morning")) as stream:
        assert "".join(stream.text_stream) == "You said: Good morning"


def test_a_noisy_stream(old_client):
    with old_client.messages.stream(**question("Hello"), extra_headers=scenario("noisy")) as stream:
        assert stream.get_final_text() == "You said: Hello"


def test_a_beta_call_keeps_its_query(old_client, standin, marked, test_id):
    old_client.beta.messages.create(**question(), betas=["one-2026-01-01"], extra_headers=marked)
    seen = standin.seen(test_id)
    assert seen["query"] == "beta=true"
    assert seen["headers"]["anthropic-beta"] == ["one-2026-01-01"]


def test_a_file(old_client):
    file = old_client.beta.files.upload(file=("a.txt", b"old", "text/plain"))
    assert old_client.beta.files.download(file.id).read() == b"old"
    assert old_client.beta.files.delete(file.id).id == file.id


def test_tokens_are_counted(old_client):
    assert old_client.messages.count_tokens(model=HAIKU, messages=question()["messages"]).input_tokens > 0


@pytest.mark.parametrize(
    ("status", "expected"),
    [(400, anthropic.BadRequestError), (429, anthropic.RateLimitError), (500, anthropic.InternalServerError)],
)
def test_a_status_of_the_upstream_raises_its_class(old_client, status, expected):
    with pytest.raises(expected):
        old_client.messages.create(**question(), extra_headers=scenario(f"status={status}"))


def test_a_model_without_a_grant(old_client):
    with pytest.raises(anthropic.PermissionDeniedError, match=OPUS):
        old_client.messages.create(**question(model=OPUS))


def test_a_wait_of_seconds_is_waited_for(caller):
    client = caller("second", max_retries=2)
    for _ in range(2):
        assert client.messages.create(**question()).stop_reason == "end_turn"


@pytest.mark.parametrize(("team", "kind"), [("hour", "rate_limit_error"), ("budget", "billing_error")])
def test_a_wait_of_hours_is_not(caller, team, kind):
    client = caller(team, max_retries=2)
    with pytest.raises(anthropic.RateLimitError) as raised:
        for _ in range(50):
            client.messages.create(**question())
    assert raised.value.body["error"]["type"] == kind
    assert raised.value.response.request.headers["x-stainless-retry-count"] == "0"


def test_a_stream_that_spends_its_limit_raises_in_the_middle(caller):
    asked = {**question(), "max_tokens": 3}
    stream = caller("cut").messages.create(**asked, stream=True, extra_headers=scenario("events=400; gap=5"))
    seen = []
    with pytest.raises(anthropic.APIStatusError) as raised:
        for event in stream:
            seen.append(event.type)
    assert "content_block_delta" in seen
    assert raised.value.body["error"]["type"] == "rate_limit_error"


def test_an_expired_token_asks_for_a_new_one(proxy, caller):
    client = caller(auth_token=proxy.sign_token("claude:haiku", lifetime="1ms"))
    with pytest.raises(anthropic.AuthenticationError, match="expired"):
        client.messages.create(**question())
