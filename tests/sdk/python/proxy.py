"""A proxy beside the sandbox's own, with limits, revocations and grants that other tests must not meet."""

import json
import os
import socket
import subprocess
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from sandbox import PATIENCE_SECONDS, Sandbox

# Each limit bounds one team, so that tests keep out of each other's way; within it each subject has a count of its own.
RULES = """
[revocation]
file = "{name}-revoked.json"

[[grant]]
name = "narrow"
scope = "test:narrow"
models = ["claude-haiku-*"]
endpoints = ["messages", "models"]
max_thinking_tokens = 2000
deny_betas = ["mcp-client-*"]

[[grant]]
name = "resident"
scope = "test:resident"
models = ["claude-haiku-*"]
inference_geo = ["us"]

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
output_tokens = "1000/h"

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
"""


@dataclass(frozen=True)
class Proxy(Sandbox):
    """A proxy with the sandbox's issuer and upstream."""

    process: subprocess.Popen

    @classmethod
    def start(cls, sandbox, name):
        """Starts one whose files are called `name`, below the sandbox's folder."""
        config = Path(sandbox.config_file)
        listen, admin = free_addresses()
        text = config.read_text()
        for old, new in [
            (urlsplit(sandbox.base_url).netloc, listen),
            (urlsplit(sandbox.admin_url).netloc, admin),
            ('directory = "audit"', f'directory = "{name}-audit"'),
            ('directory = "state"', f'directory = "{name}-state"'),
            # Tokens expire on time.
            ('max_lifetime = "24h"', 'max_lifetime = "24h"\nleeway = "0s"'),
        ]:
            assert text.count(old) == 1, old
            text = text.replace(old, new)
        own = config.with_name(f"{name}.toml")
        own.write_text(text + RULES.replace("{name}", name))
        own.with_name(f"{name}-revoked.json").write_text("{}")
        with own.with_suffix(".log").open("wb") as log:
            command = [os.environ["PORTCULLIS_BIN"], "serve", "--config", own]
            process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        scheme = urlsplit(sandbox.base_url).scheme
        proxy = cls(
            base_url=f"{scheme}://{listen}",
            token=sandbox.token,
            ca_file=sandbox.ca_file,
            config_file=str(own),
            upstream_url=sandbox.upstream_url,
            admin_url=f"http://{admin}",
            process=process,
        )
        try:
            proxy._until_ready()
        except BaseException:
            proxy.stop()
            raise
        return proxy

    def _until_ready(self):
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                with urllib.request.urlopen(f"{self.admin_url}/readyz", timeout=PATIENCE_SECONDS):
                    return
            except (urllib.error.URLError, ConnectionError):
                log = Path(self.config_file).with_suffix(".log")
                assert self.process.poll() is None, log.read_text()
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.02)

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(PATIENCE_SECONDS)
        finally:
            self.process.kill()
            self.process.wait()

    def revoke(self, revocations):
        """Replaces the list; it is in force within a second."""
        file = Path(self.config_file).with_name(f"{Path(self.config_file).stem}-revoked.json")
        draft = file.with_suffix(".draft")
        draft.write_text(json.dumps(revocations))
        draft.rename(file)

    def denied(self, reason):
        """How many requests were refused for `reason` so far."""
        with urllib.request.urlopen(f"{self.admin_url}/metrics", timeout=PATIENCE_SECONDS) as response:
            lines = response.read().decode().splitlines()
        label = f'portcullis_denied_total{{reason="{reason}"}} '
        return sum(int(line.removeprefix(label)) for line in lines if line.startswith(label))


def free_addresses():
    """Two addresses that were free a moment ago."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    addresses = ["{}:{}".format(*each.getsockname()) for each in sockets]
    for each in sockets:
        each.close()
    return addresses
