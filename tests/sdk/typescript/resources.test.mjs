// Files and batches.

import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { test } from 'node:test';

import Anthropic, { toFile } from '@anthropic-ai/sdk';

import { HAIKU, OPUS, SONNET, collect, connect, question, sha256 } from './sandbox.mjs';

const client = connect();
const BYTES = Buffer.from(Array.from({ length: 256 }, (_, byte) => byte));

const requests = (...models) =>
  models.map((model, index) => ({ custom_id: `n${index}`, params: question('Hello', { model }) }));

/** A file that is gone after the test. */
async function upload(t, content) {
  const file = await client.files.upload({ file: await toFile(content, 'bytes.bin') });
  t.after(() => client.files.delete(file.id));
  return file;
}

/** A batch of two that is gone after the test. The stand-in ends a batch at once. */
async function createBatch(t) {
  const batch = await client.messages.batches.create({ requests: requests(HAIKU, SONNET) });
  t.after(() => client.messages.batches.delete(batch.id));
  return batch;
}

test('an uploaded file is described and listed', async (t) => {
  const { id } = await upload(t, BYTES);
  const shown = await client.files.retrieveMetadata(id);
  assert.equal(shown.filename, 'bytes.bin');
  assert.equal(shown.size_bytes, BYTES.length);
  const listed = await collect(client.files.list({ limit: 1000 }));
  assert.ok(listed.some((file) => file.id === id));
});

test('a file comes back byte by byte', async (t) => {
  const { id } = await upload(t, BYTES);
  const answer = await client.files.download(id);
  assert.deepEqual(Buffer.from(await answer.arrayBuffer()), BYTES);
});

test('a deleted file is gone', async () => {
  const { id } = await client.files.upload({ file: await toFile(BYTES, 'gone.bin') });
  assert.equal((await client.files.delete(id)).id, id);
  await assert.rejects(client.files.retrieveMetadata(id), Anthropic.NotFoundError);
});

test('an upload larger than any message arrives whole', async (t) => {
  const content = randomBytes(40 * 1024 * 1024);
  const file = await upload(t, content);
  assert.equal(file.size_bytes, content.length);
  assert.equal(file.standin_sha256, sha256(content));
});

test('a batch is processed and listed', async (t) => {
  const { id } = await createBatch(t);
  const shown = await client.messages.batches.retrieve(id);
  assert.equal(shown.processing_status, 'ended');
  assert.equal(shown.request_counts.succeeded, 2);
  const listed = await collect(client.messages.batches.list({ limit: 1000 }));
  assert.ok(listed.some((batch) => batch.id === id));
});

test('a batch takes a cancel without a body', async (t) => {
  const { id } = await createBatch(t);
  assert.equal((await client.messages.batches.cancel(id)).id, id);
});

test('results are one JSON a line', async (t) => {
  const { id } = await createBatch(t);
  const answer = await client.get(`/v1/messages/batches/${id}/results`).asResponse();
  const results = (await answer.text()).trim().split('\n').map((line) => JSON.parse(line));
  assert.deepEqual(results.map((result) => [result.custom_id, result.result.type]), [
    ['n0', 'succeeded'],
    ['n1', 'succeeded'],
  ]);
});

test('the SDK fetches results through the gateway', async (t) => {
  // The API names an absolute URL of its own, which the SDK would fetch with the company token.
  const { id } = await createBatch(t);
  const results = await collect(await client.messages.batches.results(id));
  assert.deepEqual(results.map((result) => result.custom_id), ['n0', 'n1']);
});

test('a deleted batch is gone', async () => {
  const { id } = await client.messages.batches.create({ requests: requests(HAIKU) });
  assert.equal((await client.messages.batches.delete(id)).id, id);
  await assert.rejects(client.messages.batches.retrieve(id), Anthropic.NotFoundError);
});

test('one forbidden model refuses the whole batch', async () => {
  const mixed = requests(...Array(50).fill(HAIKU), OPUS);
  await assert.rejects(client.messages.batches.create({ requests: mixed }), Anthropic.PermissionDeniedError);
});
