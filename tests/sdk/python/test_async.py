"""The asynchronous client, alone and in a crowd."""

import asyncio
import hashlib

import anthropic
import pytest

from sandbox import HAIKU, NO_AUTHORIZATION, OPUS, question, scenario
from test_streaming import BROKEN_OFF, WHOLE_ANSWER
from test_tools import WEATHER


async def test_a_question_is_answered(async_client):
    message = await async_client.messages.create(**question("Good morning"))
    assert message.content[0].text == "You said: Good morning"


async def test_raw_events_come_in_order(async_client):
    stream = await async_client.messages.create(**question(), stream=True)
    assert [event.type async for event in stream] == WHOLE_ANSWER


async def test_the_helper_yields_text_and_then_the_message(async_client):
    async with async_client.messages.stream(**question("Good morning")) as stream:
        text = "".join([piece async for piece in stream.text_stream])
        message = await stream.get_final_message()
    assert text == message.content[0].text == "You said: Good morning"


async def test_a_tool_is_asked_for(async_client):
    message = await async_client.messages.create(**question(tools=[WEATHER]))
    assert message.stop_reason == "tool_use"
    assert message.content[0].input.keys() == {"city"}


async def test_tokens_are_counted(async_client):
    counted = await async_client.messages.count_tokens(model=HAIKU, messages=question()["messages"])
    assert counted.input_tokens > 0


async def test_models_are_listed(async_client):
    assert any([model.id.startswith(HAIKU) async for model in async_client.models.list(limit=2)])


async def test_a_file_comes_back_byte_by_byte(async_client):
    file = await async_client.files.upload(file=("a.bin", b"\0\xff" * 1000, "application/octet-stream"))
    downloaded = await async_client.files.download(file.id)
    assert await downloaded.read() == b"\0\xff" * 1000
    assert (await async_client.files.delete(file.id)).id == file.id


async def test_a_batch_has_results(async_client):
    batch = await async_client.messages.batches.create(requests=[{"custom_id": "only", "params": question()}])
    results = [result async for result in await async_client.messages.batches.results(batch.id)]
    assert [result.custom_id for result in results] == ["only"]
    assert (await async_client.messages.batches.delete(batch.id)).id == batch.id


@pytest.mark.parametrize(
    ("status", "expected"),
    [(400, anthropic.BadRequestError), (429, anthropic.RateLimitError), (529, anthropic.OverloadedError)],
)
async def test_a_status_of_the_upstream_raises_its_class(async_client, status, expected):
    with pytest.raises(expected):
        await async_client.messages.create(**question(), extra_headers=scenario(f"status={status}"))


async def test_a_model_without_a_grant(async_client):
    with pytest.raises(anthropic.PermissionDeniedError):
        await async_client.messages.create(**question(model=OPUS))


async def test_no_token(sandbox):
    async with sandbox.async_client(default_headers=NO_AUTHORIZATION) as client:
        with pytest.raises(anthropic.AuthenticationError):
            await client.messages.create(**question())


async def test_a_cut_stream_raises(async_client):
    stream = await async_client.messages.create(**question(), stream=True, extra_headers=scenario("cut=4"))
    with pytest.raises(BROKEN_OFF):
        async for _ in stream:
            pass


async def test_a_cancelled_task_ends_the_upstreams_work(async_client, standin, marked, test_id):
    begun = asyncio.Event()

    async def read():
        headers = {**marked, **scenario("events=1000; gap=20")}
        async for _ in await async_client.messages.create(**question(), stream=True, extra_headers=headers):
            begun.set()

    reader = asyncio.create_task(read())
    await begun.wait()
    reader.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reader
    ended = await asyncio.to_thread(standin.finished, test_id)
    assert len(ended["events"]) < 1000
    assert (await async_client.messages.create(**question())).stop_reason == "end_turn"


async def test_50_streams_at_once_keep_their_own_content(async_client):
    async def ask(text):
        headers = scenario("events=20; gap=5")
        async with async_client.messages.stream(**question(text), extra_headers=headers) as stream:
            return await stream.get_final_text()

    texts = [hashlib.sha256(str(number).encode()).hexdigest() for number in range(50)]
    answers = await asyncio.gather(*map(ask, texts))
    assert answers == [f"You said: {text}" for text in texts]


async def test_large_bodies_at_once_keep_their_own_content(async_client, standin, test_id):
    async def ask(letter):
        response = await async_client.messages.with_raw_response.create(
            **question(letter * 2_000_000), extra_headers={"anthropic-test-id": f"{test_id}-{letter}"}
        )
        return hashlib.sha256(response.http_request.content).hexdigest()

    sent = await asyncio.gather(*map(ask, "abcdefgh"))
    assert [standin.seen(f"{test_id}-{letter}")["body_sha256"] for letter in "abcdefgh"] == sent
