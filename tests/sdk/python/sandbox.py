"""The running sandbox as tests see it: where it is, how to call it, and what its stand-in upstream received."""

import http.client
import json
import os
import ssl
import subprocess
import time
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from urllib.parse import urlsplit

import anthropic

HAIKU = "claude-haiku-4-5"
SONNET = "claude-sonnet-5-5"
OPUS = "claude-opus-5-5"

# Newer clients insist on `Authorization`; with this one it goes otherwise or not at all.
NO_AUTHORIZATION = {"Authorization": anthropic.Omit()}

PATIENCE_SECONDS = 20


def question(text="Hello", model=HAIKU, **more):
    """The least that POST /v1/messages takes."""
    return {"model": model, "max_tokens": 64, "messages": [{"role": "user", "content": text}], **more}


def scenario(directives):
    """Extra headers that make the stand-in upstream misbehave."""
    return {"anthropic-standin": directives}


@dataclass(frozen=True)
class Sandbox:
    """What the ready file tells."""

    base_url: str
    token: str
    ca_file: str
    config_file: str
    upstream_url: str
    admin_url: str

    @classmethod
    def read(cls, ready_file):
        ready = json.loads(Path(ready_file).read_text())
        return cls(**{name: ready[name] for name in cls.__dataclass_fields__})

    @cached_property
    def tls(self):
        return ssl.create_default_context(cafile=self.ca_file)

    def client(self, **options):
        """A client of the official SDK. It does not retry unless told to, so that a fault shows at once."""
        transport = anthropic.DefaultHttpxClient(verify=self.tls)
        return anthropic.Anthropic(**self._options(transport, options))

    def async_client(self, **options):
        transport = anthropic.DefaultAsyncHttpxClient(verify=self.tls)
        return anthropic.AsyncAnthropic(**self._options(transport, options))

    def _options(self, transport, options):
        own_credential = options.keys() & {"default_headers", "credentials"}
        credential = {} if own_credential else {"auth_token": self.token}
        return {"base_url": self.base_url, "http_client": transport, "max_retries": 0, **credential, **options}

    def send(self, method, path, body=b"", headers=None):
        """One request without an SDK; returns the status, the headers and the body of the answer."""
        headers = {"authorization": f"Bearer {self.token}", "anthropic-version": "2023-06-01", **(headers or {})}
        return exchange(self.base_url, self.tls, method, path, body, headers)

    def sign_token(self, scope, subject="sdk-test", **options):
        """A token for other scopes than the sandbox's own has; the options are those of the command."""
        command = [os.environ["PORTCULLIS_BIN"], "token", "--config", self.config_file]
        command += ["--subject", subject, "--scope", scope]
        command += [f"--{name}={value}" for name, value in options.items()]
        return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


class Standin:
    """What the stand-in upstream received. It accepts the sandbox's client certificate only."""

    def __init__(self, sandbox):
        self._url = sandbox.upstream_url
        folder = Path(sandbox.ca_file).parent
        self._tls = ssl.create_default_context(cafile=sandbox.ca_file)
        self._tls.load_cert_chain(folder / "client.crt", folder / "client.key")

    def all_seen(self, test_id):
        """Every request that bears the test's id, in order."""
        status, _, body = exchange(self._url, self._tls, "GET", "/standin/requests")
        assert status == 200, body
        requests = json.loads(body)["requests"]
        return [seen for seen in requests if test_id in seen["headers"].get("anthropic-test-id", [])]

    def seen(self, test_id):
        """The only request that bears the test's id."""
        (only,) = self.all_seen(test_id)
        return only

    def finished(self, test_id):
        """The only request that bears the test's id, once the upstream is done with it."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while (seen := self.seen(test_id))["finished_ms"] is None:
            assert time.monotonic() < deadline, "the upstream is still answering"
            time.sleep(0.01)
        return seen


def exchange(url, tls, method, path, body=b"", headers=None):
    where = urlsplit(url)
    if where.scheme == "https":
        connection = http.client.HTTPSConnection(where.hostname, where.port, context=tls, timeout=PATIENCE_SECONDS)
    else:
        connection = http.client.HTTPConnection(where.hostname, where.port, timeout=PATIENCE_SECONDS)
    try:
        connection.request(method, path, body or None, headers or {})
        response = connection.getresponse()
        return response.status, response.headers, response.read()
    finally:
        connection.close()
