// What Portcullis itself refuses, nothing of which reaches the upstream; and what becomes of the caller's credential.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import Anthropic from '@anthropic-ai/sdk';

import {
  HAIKU,
  OPUS,
  allSeen,
  connect,
  connectWithHeaders,
  header,
  mark,
  question,
  seen,
  signToken,
  token,
} from './sandbox.mjs';

const client = connect();
const ADVISOR = { type: 'advisor_20260301', name: 'advisor', model: OPUS };

/** Makes a call that must be refused, and returns the error. */
async function refused(expected, call) {
  const marker = mark();
  const error = await call(marker).then(
    () => assert.fail('the call was allowed'),
    (error) => error,
  );
  assert.equal(error.constructor, expected, String(error));
  assert.deepEqual(await allSeen(marker), []);
  assert.equal(error.error.type, 'error');
  assert.equal(error.requestID, error.error.request_id);
  assert.equal(error.requestID, error.headers.get('x-portcullis-request-id'));
  return error;
}

const ask = (caller, body = question()) => (options) => caller.messages.create(body, options);

test('no token', async () => {
  const error = await refused(Anthropic.AuthenticationError, ask(connectWithHeaders({})));
  assert.equal(error.error.error.type, 'authentication_error');
  assert.match(error.headers.get('www-authenticate'), /^Bearer/);
});

for (const wrong of ['garbage', 'a.b.c', 'sk-ant-api03-stray-key']) {
  test(`a token that is none: ${wrong}`, async () => {
    const error = await refused(Anthropic.AuthenticationError, ask(connect({ authToken: wrong })));
    assert.ok(!JSON.stringify(error.error).includes(wrong));
  });
}

test('two credentials that differ', async () => {
  await refused(Anthropic.AuthenticationError, ask(connect({ defaultHeaders: { 'x-api-key': 'another' } })));
});

test('a model without a grant', async () => {
  const error = await refused(Anthropic.PermissionDeniedError, ask(client, question('Hello', { model: OPUS })));
  assert.equal(error.error.error.type, 'permission_error');
  assert.ok(error.error.error.message.includes(OPUS));
});

test('counting for a model without a grant', async () => {
  const { messages } = question();
  await refused(Anthropic.PermissionDeniedError, (options) =>
    client.messages.countTokens({ model: OPUS, messages }, options),
  );
});

test('a fallback without a grant', async () => {
  const body = question('Hello', { fallbacks: [{ model: HAIKU }, { model: OPUS }] });
  await refused(Anthropic.PermissionDeniedError, (options) => client.beta.messages.create(body, options));
});

test('an advisor without a grant', async () => {
  const body = question('Hello', { tools: [ADVISOR] });
  await refused(Anthropic.PermissionDeniedError, (options) => client.beta.messages.create(body, options));
});

test('an advisor that is added later without a grant', async () => {
  const body = question();
  const tool = { type: 'tool_definition', definition: ADVISOR };
  body.messages.push({ role: 'system', content: [{ type: 'tool_addition', tool }] });
  await refused(Anthropic.PermissionDeniedError, (options) => client.beta.messages.create(body, options));
});

test('an endpoint without a grant', async () => {
  await refused(Anthropic.PermissionDeniedError, (options) => client.beta.agents.list({}, options));
});

test('a path that is unknown', async () => {
  const error = await refused(Anthropic.NotFoundError, (options) => client.get('/v1/does-not-exist', options));
  assert.equal(error.error.error.type, 'not_found_error');
});

test('a body of 33 mebibytes', async () => {
  const body = question('x'.repeat(33 * 1024 * 1024));
  const error = await refused(Anthropic.ContentTooLargeError, ask(client, body));
  assert.equal(error.error.error.type, 'request_too_large');
});

test('a model that is named twice', async () => {
  const body = Buffer.from(`{"model":"${HAIKU}","model":"${OPUS}","max_tokens":9,"messages":[]}`);
  await refused(Anthropic.BadRequestError, ({ headers }) =>
    client.post('/v1/messages', { body, headers: { ...headers, 'content-type': 'application/json' } }),
  );
});

test('the upstream sees the key and nothing of the token', async () => {
  const marker = mark();
  await client.messages.create(question(), marker);
  const request = await seen(marker);
  assert.match(header(request, 'x-api-key'), /^sk-ant-[^,]+$/);
  assert.equal(header(request, 'authorization'), undefined);
  for (const part of token.split('.')) assert.ok(!JSON.stringify(request).includes(part));
});

for (const [style, caller] of [
  ['as x-api-key', connectWithHeaders({ 'x-api-key': token })],
  ['in both headers', connect({ defaultHeaders: { 'x-api-key': token } })],
]) {
  test(`the token ${style} is replaced`, async () => {
    const marker = mark();
    await caller.messages.create(question(), marker);
    assert.ok(!JSON.stringify(await seen(marker)).includes(token));
  });
}

test('a token opens the models of its scopes alone', async () => {
  const caller = connect({ authToken: await signToken('claude:opus') });
  const message = await caller.messages.create(question('Hello', { model: OPUS }));
  assert.ok(message.model.startsWith(OPUS));
  await refused(Anthropic.PermissionDeniedError, ask(caller));
});
