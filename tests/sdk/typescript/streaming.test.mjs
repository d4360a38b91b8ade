// Answers as server-sent events: whole, in time, and honest when they end badly.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import Anthropic from '@anthropic-ai/sdk';

import { collect, connect, finished, mark, question, scenario, sha256 } from './sandbox.mjs';

const client = connect();

const WHOLE_ANSWER = [
  'message_start',
  'content_block_start',
  ...Array(5).fill('content_block_delta'),
  'content_block_stop',
  'message_delta',
  'message_stop',
];

const open = (options) => client.messages.create(question('Hello', { stream: true }), options);

/** The types of the events up to the error that ends the stream, and the error. */
async function untilError(stream) {
  const types = [];
  try {
    for await (const { type } of stream) types.push(type);
  } catch (error) {
    return { types, error };
  }
  assert.fail('the stream ended well');
}

test('raw events come in order', async () => {
  const events = await collect(await open());
  assert.deepEqual(events.map((event) => event.type), WHOLE_ANSWER);
});

test('a stream names both request ids', async () => {
  const { data, response, request_id } = await open().withResponse();
  await collect(data);
  assert.match(request_id, /^req_/);
  assert.match(response.headers.get('x-portcullis-request-id'), /^pcl_/);
});

test('the helper yields text and then the message', async () => {
  const pieces = [];
  const stream = client.messages.stream(question('Good morning')).on('text', (piece) => pieces.push(piece));
  const message = await stream.finalMessage();
  assert.equal(pieces.join(''), 'You said: Good morning');
  assert.equal(message.content[0].text, 'You said: Good morning');
  assert.equal(message.stop_reason, 'end_turn');
});

test('thinking is streamed', async () => {
  const thinking = { type: 'enabled', budget_tokens: 1024 };
  const message = await client.messages.stream(question('Hello', { max_tokens: 2048, thinking })).finalMessage();
  assert.ok(message.content[0].thinking);
  assert.ok(message.content[0].signature);
  assert.ok(message.content[1].text);
});

test('a noisy stream is still understood', async () => {
  const stream = client.messages.stream(question('Hello'), scenario('noisy'));
  assert.equal(await stream.finalText(), 'You said: Hello');
});

test('a long stream arrives whole', async () => {
  const stream = client.messages.stream(question(), scenario('events=2000; size=1000000'));
  assert.equal((await stream.finalText()).length, 1_000_000);
});

test('events arrive while the answer is still being written', async () => {
  const marker = mark();
  const stream = await open(scenario('gap=50; events=20', marker.headers));
  let firstArrived;
  for await (const _ of stream) firstArrived ??= Date.now() * 1000;
  const { events } = await finished(marker);
  assert.ok(events.length > 20);
  assert.ok(firstArrived < events.at(-1));
});

test('a client that leaves ends the work of the upstream', async () => {
  const marker = mark();
  const stream = await open(scenario('events=1000; gap=20', marker.headers));
  for await (const _ of stream) break;
  stream.controller.abort();
  assert.ok((await finished(marker)).events.length < 1000);
  assert.equal((await client.messages.create(question())).stop_reason, 'end_turn');
});

test('a cut stream raises', async () => {
  const { types, error } = await untilError(await open(scenario('cut=4')));
  assert.deepEqual(types, WHOLE_ANSWER.slice(0, 3));
  assert.ok(error instanceof Error);
});

test('an error event raises', async () => {
  const { types, error } = await untilError(await open(scenario('sse_error=4')));
  assert.deepEqual(types, WHOLE_ANSWER.slice(0, 3));
  assert.ok(error instanceof Anthropic.APIError);
  assert.equal(error.type, 'overloaded_error');
});

test('a refused stream raises before the first event', async () => {
  await assert.rejects(open(scenario('status=529')), Anthropic.OverloadedError);
});

test('50 streams at once keep their own content', async () => {
  const texts = Array.from({ length: 50 }, (_, number) => sha256(String(number)));
  const answers = await Promise.all(
    texts.map((text) => client.messages.stream(question(text), scenario('events=20; gap=5')).finalText()),
  );
  assert.deepEqual(answers, texts.map((text) => `You said: ${text}`));
});
