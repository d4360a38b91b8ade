// What callers see of their limits, tokens and grants: the right exception, and a retry only where it is worth it.

import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { after, test } from 'node:test';

import Anthropic from '@anthropic-ai/sdk';
import OldAnthropic from 'anthropic-old';

import { startProxy } from './proxy.mjs';
import { HAIKU, PATIENCE_MS, collect, connect, question, scenario, signToken } from './sandbox.mjs';

const proxy = await startProxy('typescript');
after(() => proxy.stop());

/** Options of a client of the proxy, for a subject that no other test has; `sent` counts its requests. */
async function caller({ scope = 'claude:haiku', subject = randomUUID(), ...more } = {}, options = {}) {
  const own = {
    baseURL: proxy.baseURL,
    authToken: await signToken(scope, { subject, ...more }),
    sent: 0,
    fetch: (...request) => {
      own.sent += 1;
      return fetch(...request);
    },
    ...options,
  };
  return own;
}

/** Calls until it is refused, and returns the error. */
async function untilRefused(client) {
  for (const deadline = Date.now() + PATIENCE_MS; Date.now() < deadline; ) {
    try {
      await client.messages.create(question());
    } catch (error) {
      return error;
    }
  }
  assert.fail('never refused');
}

for (const [line, Client] of [
  ['the SDK', Anthropic],
  ['the old SDK', OldAnthropic],
]) {
  test(`${line} waits for seconds`, async () => {
    const options = await caller({ team: 'second' });
    const client = new Client({ apiKey: null, maxRetries: 2, ...options });
    const begun = performance.now();
    for (let call = 0; call < 2; call += 1) {
      assert.equal((await client.messages.create(question())).stop_reason, 'end_turn');
    }
    assert.ok(performance.now() - begun >= 1000);
  });

  for (const [team, kind] of [
    ['hour', 'rate_limit_error'],
    ['budget', 'billing_error'],
  ]) {
    test(`${line} asks once when the limit is one of the team ${team}`, async () => {
      const options = await caller({ team });
      const client = new Client({ apiKey: null, maxRetries: 2, ...options });
      let answered = 0;
      const counting = { messages: { create: (body) => client.messages.create(body).then(() => (answered += 1)) } };
      const error = await untilRefused(counting);
      assert.ok(error instanceof Client.RateLimitError, String(error));
      assert.equal(error.status, 429);
      assert.equal(error.error.error.type, kind);
      assert.equal(error.headers.get('x-should-retry'), 'false');
      assert.ok(Number(error.headers.get('retry-after')) >= 1);
      assert.equal(options.sent, answered + 1);
    });
  }

  test(`${line} raises in the middle of a stream that spends its limit`, async () => {
    const client = new Client({ apiKey: null, ...(await caller({ team: 'cut' })) });
    const body = question('Hello', { max_tokens: 3, stream: true });
    // The stand-in writes as much as it is told to, whatever max_tokens says.
    const stream = await client.messages.create(body, scenario('events=400; gap=5'));
    const types = [];
    const error = await (async () => {
      for await (const { type } of stream) types.push(type);
    })().catch((error) => error);
    assert.ok(types.includes('content_block_delta') && !types.includes('message_stop'));
    assert.ok(error instanceof Client.APIError, String(error));
    assert.equal(error.error.error.type, 'rate_limit_error');
  });

  test(`${line} raises for an expired token`, async () => {
    const options = await caller({ lifetime: '1ms' });
    const client = new Client({ apiKey: null, maxRetries: 2, ...options });
    await assert.rejects(client.messages.create(question()), (error) => {
      assert.ok(error instanceof Client.AuthenticationError, String(error));
      assert.match(error.error.error.message, /expired/);
      return true;
    });
    assert.equal(options.sent, 1);
  });
}

test('a spent budget leaves what is free', async () => {
  const client = connect(await caller({ team: 'budget' }));
  await untilRefused(client);
  const { messages } = question();
  assert.ok((await client.messages.countTokens({ model: HAIKU, messages })).input_tokens > 0);
  assert.ok((await collect(client.models.list())).length > 0);
});

test('a caller is told of its own limits alone', async () => {
  const client = connect(await caller({ team: 'hour' }));
  const { response } = await client.messages.create(question()).withResponse();
  assert.equal(response.headers.get('anthropic-ratelimit-requests-limit'), '2');
  assert.equal(response.headers.get('anthropic-ratelimit-requests-remaining'), '1');
  const told = [...response.headers.keys()].filter((name) => /^anthropic-(ratelimit|priority|organization)/.test(name));
  assert.ok(told.every((name) => name.startsWith('anthropic-ratelimit-requests-')), told.join());
});

test('the SDK gets a new token by itself', async () => {
  const tokens = [await signToken('claude:haiku', { lifetime: '1ms' }), await signToken('claude:haiku')];
  const credentials = async () => ({ token: tokens.shift(), expiresAt: null });
  const client = new Anthropic({ baseURL: proxy.baseURL, credentials, maxRetries: 1 });
  assert.equal((await client.messages.create(question())).stop_reason, 'end_turn');
  assert.deepEqual(tokens, []);
});

test('a revoked token asks for a new one', async () => {
  const subject = randomUUID();
  const client = connect(await caller({ subject }));
  assert.equal((await client.messages.create(question())).stop_reason, 'end_turn');
  proxy.revoke({ subjects: [subject] });
  const error = await untilRefused(client);
  assert.equal(error.constructor, Anthropic.AuthenticationError);
  assert.match(error.error.error.message, /Get a new one/);
});

for (const [what, asked, named] of [
  ['a server tool', { tools: [{ type: 'web_search_20250305', name: 'web_search' }] }, '`web_search`'],
  ['an MCP server', { mcp_servers: [{ type: 'url', url: 'https://mcp.example', name: 'x' }] }, '`mcp_servers`'],
  ['a beta', { betas: ['mcp-client-2025-11-20'] }, '`mcp-client-2025-11-20`'],
  ['thinking', { thinking: { type: 'enabled', budget_tokens: 2001 }, max_tokens: 4096 }, 'at most 2000'],
]) {
  test(`what is not granted is named: ${what}`, async () => {
    const options = await caller({ scope: 'test:narrow' }, { maxRetries: 2 });
    await assert.rejects(connect(options).beta.messages.create(question('Hello', asked)), (error) => {
      assert.equal(error.constructor, Anthropic.PermissionDeniedError);
      assert.ok(error.error.error.message.includes(named), error.message);
      return true;
    });
    assert.equal(options.sent, 1);
  });
}

test('models are those of the grant', async () => {
  const client = connect(await caller({ scope: 'test:narrow' }));
  const models = await collect(client.models.list({ limit: 1 }));
  assert.ok(models.length > 0 && models.every(({ id }) => id.startsWith('claude-haiku-')));
});
