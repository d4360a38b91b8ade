// A proxy beside the sandbox's own, with limits, revocations and grants that other tests must not meet.

import { spawn } from 'node:child_process';
import { closeSync, openSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { dirname, join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';

import { PATIENCE_MS, adminURL, baseURL as sandboxURL, configFile } from './sandbox.mjs';

// Each limit bounds one team, so that tests keep out of each other's way; within it each subject has a count of its own.
const rules = (name) => `
[revocation]
file = "${name}-revoked.json"

[[grant]]
name = "narrow"
scope = "test:narrow"
models = ["claude-haiku-*"]
endpoints = ["messages", "models"]
max_thinking_tokens = 2000
deny_betas = ["mcp-client-*"]

[[limit]]
name = "requests of a second"
per = "subject"
teams = ["second"]
requests = "1/s"

[[limit]]
name = "requests of an hour"
per = "subject"
teams = ["hour"]
requests = "2/h"

[[limit]]
name = "budget"
per = "subject"
teams = ["budget"]
cost_usd = "0.0005/day"

[[limit]]
name = "tokens to the last"
per = "subject"
teams = ["cut"]
output_tokens = "10/h"
on_exhausted = "cut"
`;

/** Starts a proxy whose files are called `name`, with the sandbox's issuer and upstream. */
export async function startProxy(name) {
  const [listen, admin] = await freeAddresses();
  let text = readFileSync(configFile, 'utf8');
  for (const [old, own] of [
    [new URL(sandboxURL).host, listen],
    [new URL(adminURL).host, admin],
    ['directory = "audit"', `directory = "${name}-audit"`],
    ['directory = "state"', `directory = "${name}-state"`],
    // Tokens expire on time.
    ['max_lifetime = "24h"', 'max_lifetime = "24h"\nleeway = "0s"'],
  ]) {
    if (text.split(old).length !== 2) throw new Error(`the sandbox's configuration does not say ${old} once`);
    text = text.replace(old, own);
  }
  const file = (rest) => join(dirname(configFile), name + rest);
  writeFileSync(file('.toml'), text + rules(name));
  writeFileSync(file('-revoked.json'), '{}');
  const log = openSync(file('.log'), 'w');
  const options = { stdio: ['ignore', log, log] };
  const child = spawn(process.env.PORTCULLIS_BIN, ['serve', '--config', file('.toml')], options);
  closeSync(log);
  const ended = once(child, 'exit');
  const proxy = {
    baseURL: `${new URL(sandboxURL).protocol}//${listen}`,

    /** Replaces the list; it is in force within a second. */
    revoke(revocations) {
      writeFileSync(file('.draft'), JSON.stringify(revocations));
      renameSync(file('.draft'), file('-revoked.json'));
    },

    async stop() {
      child.kill();
      const late = setTimeout(() => child.kill('SIGKILL'), PATIENCE_MS);
      await ended;
      clearTimeout(late);
    },
  };
  for (const deadline = Date.now() + PATIENCE_MS; ; await pause(20)) {
    const ready = await fetch(`http://${admin}/readyz`).catch(() => undefined);
    if (ready?.ok) return proxy;
    if (child.exitCode !== null || Date.now() > deadline) {
      await proxy.stop();
      throw new Error(readFileSync(file('.log'), 'utf8'));
    }
  }
}

/** Two addresses that were free a moment ago. */
async function freeAddresses() {
  const servers = [createServer(), createServer()];
  for (const server of servers) await once(server.listen(0, '127.0.0.1'), 'listening');
  const addresses = servers.map((server) => `127.0.0.1:${server.address().port}`);
  for (const server of servers) await once(server.close(), 'close');
  return addresses;
}
