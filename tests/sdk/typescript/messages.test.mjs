// Answers in one piece, tools, and what must survive the way up and down.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { betaTool } from '@anthropic-ai/sdk/helpers/beta/json-schema';

import { HAIKU, OPUS, collect, connect, header, mark, question, scenario, seen, sha256 } from './sandbox.mjs';

const client = connect();

const WEATHER = {
  name: 'get_weather',
  description: 'The weather of a city.',
  input_schema: { type: 'object', properties: { city: { type: 'string' } }, required: ['city'] },
};

test('a question is answered', async () => {
  const message = await client.messages.create(question('Good morning'));
  assert.equal(message.content[0].text, 'You said: Good morning');
  assert.equal(message.stop_reason, 'end_turn');
  assert.ok(message.usage.output_tokens > 0);
});

test('every answer names both request ids', async () => {
  const marker = mark();
  const { response, request_id } = await client.messages.create(question(), marker).withResponse();
  assert.equal(request_id, `req_standin_${(await seen(marker)).number}`);
  assert.match(response.headers.get('x-portcullis-request-id'), /^pcl_/);
});

test('thinking comes back signed', async () => {
  const thinking = { type: 'enabled', budget_tokens: 1024 };
  const { content } = await client.messages.create(question('Hello', { max_tokens: 2048, thinking }));
  assert.deepEqual(content.map((block) => block.type), ['thinking', 'text']);
  assert.ok(content[0].signature);
});

test('tokens are counted', async () => {
  const { model, messages } = question();
  assert.ok((await client.messages.countTokens({ model, messages })).input_tokens > 0);
});

test('a tool is asked for and answered', async () => {
  const asked = question('How is the weather?', { tools: [WEATHER] });
  const first = await client.messages.create(asked);
  assert.equal(first.stop_reason, 'tool_use');
  const [call] = first.content;
  assert.equal(call.name, 'get_weather');

  asked.messages.push({ role: 'assistant', content: first.content });
  asked.messages.push({ role: 'user', content: [{ type: 'tool_result', tool_use_id: call.id, content: 'sunny' }] });
  const second = await client.messages.create(asked);
  assert.equal(second.stop_reason, 'end_turn');
});

test('the tool runner runs to the end', async () => {
  const asked = [];
  const weather = betaTool({
    name: WEATHER.name,
    description: WEATHER.description,
    inputSchema: WEATHER.input_schema,
    run: ({ city }) => {
      asked.push(city);
      return 'sunny';
    },
  });
  const message = await client.beta.messages.toolRunner(question('Hello', { tools: [weather] })).runUntilDone();
  assert.equal(asked.length, 1);
  assert.equal(message.stop_reason, 'end_turn');
});

test('headers and unknown fields pass unchanged', async () => {
  const marker = mark();
  const body = question('ü', { invented_tomorrow: { a: [1, null] } });
  const headers = { ...marker.headers, 'anthropic-beta': 'one-2026-01-01,two-2026-01-01', 'anthropic-future': 'yes' };
  await client.messages.create(body, { headers, query: { beta: 'true' } });
  const request = await seen(marker);
  assert.deepEqual(JSON.parse(request.body), body);
  assert.equal(request.query, 'beta=true');
  assert.equal(header(request, 'anthropic-beta'), headers['anthropic-beta']);
  assert.equal(header(request, 'anthropic-future'), 'yes');
  assert.equal(header(request, 'anthropic-version'), '2026-10-21');
});

test('a body of 20 megabytes arrives whole', async () => {
  const marker = mark();
  const body = question('long '.repeat((20 * 1024 * 1024) / 5));
  await client.messages.create(body, marker);
  const sent = JSON.stringify(body);
  const { body_bytes, body_sha256 } = await seen(marker);
  assert.equal(body_bytes, sent.length);
  assert.equal(body_sha256, sha256(sent));
});

test('an answer of 5 megabytes arrives whole', async () => {
  const size = 5 * 1024 * 1024;
  const { content } = await client.messages.create(question(), scenario(`size=${size}`));
  assert.equal(content[0].text.length, size);
});

test('a model is shown', async () => {
  assert.ok((await client.models.retrieve(HAIKU)).id.startsWith(HAIKU));
});

test('only granted models are listed', async () => {
  const listed = (await collect(client.models.list({ limit: 1000 }))).map((model) => model.id);
  assert.ok(listed.some((id) => id.startsWith(HAIKU)));
  assert.ok(!listed.includes(OPUS));
  assert.deepEqual(listed.filter((id) => !/haiku|sonnet/.test(id)), []);
});
