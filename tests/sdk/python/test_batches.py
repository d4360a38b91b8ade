"""Batches: many requests in one body, each judged."""

import json

import anthropic
import httpx2
import pytest

from sandbox import HAIKU, OPUS, SONNET, question


def requests(*models):
    return [{"custom_id": f"n{index}", "params": question(model=model)} for index, model in enumerate(models)]


@pytest.fixture
def batch(client):
    """A batch of two, gone after the test. The stand-in ends a batch at once."""
    batch = client.messages.batches.create(requests=requests(HAIKU, SONNET))
    yield batch
    client.messages.batches.delete(batch.id)


def test_a_batch_is_processed(client, batch):
    shown = client.messages.batches.retrieve(batch.id)
    assert shown.processing_status == "ended"
    assert shown.request_counts.succeeded == 2


def test_a_batch_is_listed(client, batch):
    assert batch.id in [listed.id for listed in client.messages.batches.list(limit=1000)]


def test_a_batch_takes_a_cancel_without_a_body(client, batch):
    assert client.messages.batches.cancel(batch.id).id == batch.id


def test_results_are_one_json_a_line(client, batch):
    response = client.get(f"/v1/messages/batches/{batch.id}/results", cast_to=httpx2.Response)
    results = [json.loads(line) for line in response.text.splitlines()]
    assert [result["custom_id"] for result in results] == ["n0", "n1"]
    assert {result["result"]["type"] for result in results} == {"succeeded"}


def test_the_sdk_fetches_results_through_the_gateway(client, batch):
    # The API names an absolute URL of its own, which the SDK would fetch with the company token.
    results = list(client.messages.batches.results(batch.id))
    assert [result.custom_id for result in results] == ["n0", "n1"]
    assert results[0].result.message.usage.output_tokens > 0


def test_a_deleted_batch_is_gone(client):
    batch = client.messages.batches.create(requests=requests(HAIKU))
    assert client.messages.batches.delete(batch.id).id == batch.id
    with pytest.raises(anthropic.NotFoundError):
        client.messages.batches.retrieve(batch.id)


def test_one_forbidden_model_refuses_the_whole_batch(client):
    with pytest.raises(anthropic.PermissionDeniedError, match=OPUS):
        client.messages.batches.create(requests=requests(*[HAIKU] * 50, OPUS))
