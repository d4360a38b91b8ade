// The running sandbox as tests see it: where it is, how to call it, and what its stand-in upstream received.

import { execFile } from 'node:child_process';
import { createHash, randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import https from 'node:https';
import { dirname, join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { promisify } from 'node:util';

import Anthropic from '@anthropic-ai/sdk';

export const HAIKU = 'claude-haiku-4-5';
export const SONNET = 'claude-sonnet-5-5';
export const OPUS = 'claude-opus-5-5';

export const PATIENCE_MS = 20_000;

// No credential, address or header of the developer's own shell takes part.
for (const name of Object.keys(process.env)) {
  if (name.startsWith('ANTHROPIC_')) delete process.env[name];
}

const ready = JSON.parse(readFileSync(process.env.PORTCULLIS_READY_FILE));
if (ready.base_url.startsWith('https:') && process.env.NODE_EXTRA_CA_CERTS !== ready.ca_file) {
  throw new Error(`node reads certificates at its start: set NODE_EXTRA_CA_CERTS=${ready.ca_file}`);
}

export const { base_url: baseURL, admin_url: adminURL, config_file: configFile, token } = ready;

/** A client of the official SDK. It does not retry unless told to, so that a fault shows at once. */
export const connect = (options = {}) => new Anthropic({ baseURL, authToken: token, maxRetries: 0, ...options });

/** The same with headers of one's own in place of `Authorization`. */
export const connectWithHeaders = (headers) =>
  new Anthropic({ baseURL, maxRetries: 0, defaultHeaders: { Authorization: null, ...headers } });

/** The least that POST /v1/messages takes. */
export const question = (text = 'Hello', more = {}) => ({
  model: HAIKU,
  max_tokens: 64,
  messages: [{ role: 'user', content: text }],
  ...more,
});

/** Options that make the stand-in upstream misbehave. */
export const scenario = (directives, more = {}) => ({ headers: { 'anthropic-standin': directives, ...more } });

/** Marks a test's requests, so that it finds them at the stand-in among those of others. */
export function mark() {
  const id = randomUUID();
  return { id, headers: { 'anthropic-test-id': id } };
}

/** The only value of a request header that the stand-in saw, or undefined. */
export const header = (seen, name) => seen.headers[name]?.join();

export const sha256 = (bytes) => createHash('sha256').update(bytes).digest('hex');

/** Every item of an async iterable. */
export async function collect(items) {
  const all = [];
  for await (const item of items) all.push(item);
  return all;
}

/** A token for other scopes than the sandbox's own has; further options are those of the command. */
export async function signToken(scope, options = {}) {
  const named = Object.entries({ subject: 'sdk-test', scope, ...options }).map(([name, value]) => `--${name}=${value}`);
  const command = ['token', '--config', ready.config_file, ...named];
  const { stdout } = await promisify(execFile)(process.env.PORTCULLIS_BIN, command);
  return stdout.trim();
}

/** Every request that bears the mark, in order, as the stand-in upstream received it. */
export async function allSeen({ id }) {
  const { requests } = JSON.parse(await askStandin());
  return requests.filter(({ headers }) => headers['anthropic-test-id']?.includes(id));
}

/** The only request that bears the mark. */
export async function seen(marker) {
  const all = await allSeen(marker);
  if (all.length !== 1) throw new Error(`the upstream saw ${all.length} requests, not one`);
  return all[0];
}

/** The only request that bears the mark, once the upstream is done with it. */
export async function finished(marker) {
  for (const deadline = Date.now() + PATIENCE_MS; Date.now() < deadline; await pause(10)) {
    const request = await seen(marker);
    if (request.finished_ms !== null) return request;
  }
  throw new Error('the upstream is still answering');
}

// The stand-in accepts the sandbox's client certificate only, which fetch cannot show.
function askStandin() {
  const folder = dirname(ready.ca_file);
  const [ca, cert, key] = [ready.ca_file, join(folder, 'client.crt'), join(folder, 'client.key')].map((file) =>
    readFileSync(file),
  );
  return new Promise((resolve, reject) => {
    https
      .get(new URL('/standin/requests', ready.upstream_url), { ca, cert, key, agent: false }, async (response) => {
        const chunks = await collect(response);
        if (response.statusCode === 200) resolve(Buffer.concat(chunks).toString());
        else reject(new Error(`the stand-in answers ${response.statusCode}`));
      })
      .on('error', reject);
  });
}
