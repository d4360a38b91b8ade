// Errors of the upstream: each reaches the caller as the SDK's own class, unchanged.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import Anthropic from '@anthropic-ai/sdk';

import { allSeen, connect, header, mark, question, scenario } from './sandbox.mjs';

const client = connect();

const CLASSES = [
  [400, Anthropic.BadRequestError, 'invalid_request_error'],
  [401, Anthropic.AuthenticationError, 'authentication_error'],
  [403, Anthropic.PermissionDeniedError, 'permission_error'],
  [404, Anthropic.NotFoundError, 'not_found_error'],
  [413, Anthropic.ContentTooLargeError, 'request_too_large'],
  [429, Anthropic.RateLimitError, 'rate_limit_error'],
  [500, Anthropic.InternalServerError, 'api_error'],
  [503, Anthropic.ServiceUnavailableError, 'overloaded_error'],
  [529, Anthropic.OverloadedError, 'overloaded_error'],
];

for (const [status, expected, kind] of CLASSES) {
  test(`status ${status} of the upstream raises ${expected.name}`, async () => {
    await assert.rejects(client.messages.create(question(), scenario(`status=${status}`)), (error) => {
      assert.equal(error.constructor, expected);
      assert.equal(error.status, status);
      assert.equal(error.error.error.type, kind);
      assert.equal(error.requestID, error.error.request_id);
      assert.ok(error.headers.get('x-portcullis-request-id'));
      return true;
    });
  });
}

test('a scenario in the name of the model raises the same', async () => {
  const asked = question('Hello', { model: 'claude-haiku-standin-status-529' });
  await assert.rejects(client.messages.create(asked), Anthropic.OverloadedError);
});

for (const fault of ['close', 'garbage']) {
  test(`an upstream that breaks off is a bad gateway: ${fault}`, async () => {
    await assert.rejects(client.messages.create(question(), scenario(fault)), (error) => {
      assert.equal(error.status, 502);
      assert.equal(error.error.error.type, 'api_error');
      return true;
    });
  });
}

for (const maxRetries of [0, 2]) {
  test(`the client alone retries, ${maxRetries} times`, async () => {
    const marker = mark();
    const options = { ...scenario('status=500', marker.headers), maxRetries };
    await assert.rejects(client.messages.create(question(), options), Anthropic.InternalServerError);
    const counts = (await allSeen(marker)).map((request) => Number(header(request, 'x-stainless-retry-count')));
    assert.deepEqual(counts, Array.from({ length: maxRetries + 1 }, (_, attempt) => attempt));
  });
}

test('a slow upstream is waited for', async () => {
  const message = await client.messages.create(question('slow'), scenario('delay=1500'));
  assert.equal(message.content[0].text, 'You said: slow');
});

test("the client's own timeout ends the call", async () => {
  const options = { ...scenario('delay=5000'), timeout: 300 };
  await assert.rejects(client.messages.create(question(), options), Anthropic.APIConnectionTimeoutError);
});
