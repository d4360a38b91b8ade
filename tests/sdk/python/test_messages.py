"""Answers in one piece, and what must survive the way up and down."""

import hashlib

from sandbox import HAIKU, OPUS, question

THINKING = {"max_tokens": 2048, "thinking": {"type": "enabled", "budget_tokens": 1024}}


def test_a_question_is_answered(client):
    message = client.messages.create(**question("Good morning"))
    assert message.content[0].text == "You said: Good morning"
    assert message.stop_reason == "end_turn"
    assert message.usage.input_tokens > 0
    assert message.usage.output_tokens > 0


def test_every_answer_names_both_request_ids(client):
    response = client.messages.with_raw_response.create(**question())
    assert response.headers["request-id"] == response.request_id
    assert response.headers["x-portcullis-request-id"].startswith("pcl_")


def test_the_upstreams_request_id_is_kept(client, standin, marked, test_id):
    message = client.messages.create(**question(), extra_headers=marked)
    assert message._request_id == f"req_standin_{standin.seen(test_id)['number']}"


def test_thinking_comes_back_signed(client):
    message = client.messages.create(**question(**THINKING))
    thought, answer = message.content
    assert thought.type == "thinking"
    assert thought.signature
    assert answer.type == "text"
    assert message.usage.output_tokens_details.thinking_tokens > 0


def test_tokens_are_counted(client):
    question_ = question("How long is this?")
    del question_["max_tokens"]
    assert client.messages.count_tokens(**question_).input_tokens > 0


def test_headers_and_unknown_fields_pass_unchanged(client, standin, marked, test_id):
    response = client.messages.with_raw_response.create(
        **question(),
        extra_headers={**marked, "anthropic-beta": "one-2026-01-01,two-2026-01-01", "anthropic-future": "yes"},
        extra_body={"invented_tomorrow": {"a": [1, None, "ü"]}},
        extra_query={"beta": "true"},
    )
    sent, seen = response.http_request, standin.seen(test_id)
    assert seen["body"].encode() == sent.content
    assert seen["query"] == "beta=true"
    for name in ("anthropic-beta", "anthropic-future", "anthropic-version"):
        assert seen["headers"][name] == [sent.headers[name]]


def test_a_body_of_20_megabytes_arrives_whole(client, standin, marked, test_id):
    asked = question("long " * (20 * 1024 * 1024 // 5))
    response = client.messages.with_raw_response.create(**asked, extra_headers=marked)
    sent, seen = response.http_request.content, standin.seen(test_id)
    assert seen["body_bytes"] == len(sent) > 20 * 1024 * 1024
    assert seen["body_sha256"] == hashlib.sha256(sent).hexdigest()


def test_an_answer_of_5_megabytes_arrives_whole(client):
    size = 5 * 1024 * 1024
    message = client.messages.create(**question(), extra_headers={"anthropic-standin": f"size={size}"})
    assert len(message.content[0].text) == size


def test_a_model_is_shown(client):
    assert client.models.retrieve(HAIKU).id.startswith(HAIKU)


def test_only_granted_models_are_listed(client):
    listed = [model.id for model in client.models.list(limit=1000)]
    assert any(model.startswith(HAIKU) for model in listed)
    assert [model for model in listed if "haiku" not in model and "sonnet" not in model] == []
    assert OPUS not in listed


def test_pages_of_models_lead_to_each_other(client):
    in_one = [model.id for model in client.models.list(limit=1000)]
    assert [model.id for model in client.models.list(limit=2)] == in_one


def test_the_short_paths_lead_to_the_api(sandbox):
    body = b'{"model":"claude-haiku-4-5","max_tokens":9,"messages":[{"role":"user","content":"x"}]}'
    status, _, answer = sandbox.send("POST", "/claude/messages", body, {"content-type": "application/json"})
    assert status == 200
    assert b"You said: x" in answer


def test_the_warm_up_call_of_claude_code_is_answered(sandbox):
    status, headers, body = sandbox.send("HEAD", "/api/hello")
    assert status == 200
    assert headers["x-portcullis-request-id"]
    assert body == b""
