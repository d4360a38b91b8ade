// A few calls of the SDK's older line, which many still use: another header for the credential, and `?beta=true`.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import Anthropic, { toFile } from 'anthropic-old';

import { OPUS, baseURL, header, mark, question, scenario, seen, token } from './sandbox.mjs';

const connect = (options) => new Anthropic({ baseURL, apiKey: null, authToken: null, maxRetries: 0, ...options });
// As old clients are set up for a gateway: the token in place of an API key.
const client = connect({ apiKey: token });

test('the token as API key is replaced', async () => {
  const marker = mark();
  const message = await client.messages.create(question('Good morning'), marker);
  assert.equal(message.content[0].text, 'You said: Good morning');
  const request = await seen(marker);
  assert.equal(header(request, 'anthropic-version'), '2023-06-01');
  assert.notEqual(header(request, 'x-api-key'), token);
  assert.equal(header(request, 'authorization'), undefined);
});

test('the token as auth token', async () => {
  const message = await connect({ authToken: token }).messages.create(question());
  assert.equal(message.stop_reason, 'end_turn');
});

test('a key and a token that differ', async () => {
  const caller = connect({ authToken: token, apiKey: 'sk-ant-api03-stray-key' });
  await assert.rejects(caller.messages.create(question()), Anthropic.AuthenticationError);
});

test('a stream', async () => {
  assert.equal(await client.messages.stream(question('Good morning')).finalText(), 'You said: Good morning');
});

test('a beta call keeps its query', async () => {
  const marker = mark();
  await client.beta.messages.create({ ...question(), betas: ['one-2026-01-01'] }, marker);
  const request = await seen(marker);
  assert.equal(request.query, 'beta=true');
  assert.equal(header(request, 'anthropic-beta'), 'one-2026-01-01');
});

test('a file', async () => {
  const file = await client.beta.files.upload({ file: await toFile(Buffer.from('old'), 'a.txt') });
  assert.equal(await (await client.beta.files.download(file.id)).text(), 'old');
  assert.equal((await client.beta.files.delete(file.id)).id, file.id);
});

for (const [status, expected] of [
  [400, Anthropic.BadRequestError],
  [429, Anthropic.RateLimitError],
  [529, Anthropic.InternalServerError],
]) {
  test(`status ${status} of the upstream raises ${expected.name}`, async () => {
    await assert.rejects(client.messages.create(question(), scenario(`status=${status}`)), expected);
  });
}

test('a model without a grant', async () => {
  const asked = client.messages.create(question('Hello', { model: OPUS }));
  await assert.rejects(asked, Anthropic.PermissionDeniedError);
});
