"""Tool use: the model asks, the client answers."""

import json

from anthropic import beta_tool

from sandbox import question

WEATHER = {
    "name": "get_weather",
    "description": "The weather of a city.",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}


def test_a_tool_is_asked_for_and_answered(client):
    asked = question("How is the weather?", tools=[WEATHER])
    first = client.messages.create(**asked)
    assert first.stop_reason == "tool_use"
    (call,) = first.content
    assert call.name == "get_weather"
    assert isinstance(call.input["city"], str)

    asked["messages"] += [
        {"role": "assistant", "content": [call.to_dict()]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": call.id, "content": "sunny"}]},
    ]
    second = client.messages.create(**asked)
    assert second.stop_reason == "end_turn"


def test_the_input_of_a_tool_is_streamed_in_pieces(client):
    with client.messages.stream(**question(tools=[WEATHER])) as stream:
        pieces = [event.partial_json for event in stream if event.type == "input_json"]
        (call,) = stream.get_final_message().content
    assert len(pieces) > 1
    assert json.loads("".join(pieces)) == call.input


def test_the_tool_runner_runs_to_the_end(client):
    asked = []

    @beta_tool
    def get_weather(city: str) -> str:
        """The weather of a city.

        Args:
            city: its name
        """
        asked.append(city)
        return "sunny"

    message = client.beta.messages.tool_runner(**question(), tools=[get_weather]).until_done()
    assert len(asked) == 1
    assert message.stop_reason == "end_turn"


def test_a_tool_of_the_servers_own_answers_at_once(client):
    search = {"type": "web_search_20250305", "name": "web_search"}
    message = client.messages.create(**question(tools=[search]))
    assert [block.type for block in message.content] == ["server_tool_use", "web_search_tool_result", "text"]
    assert message.usage.server_tool_use.web_search_requests == 1
