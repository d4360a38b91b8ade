"""What every test may ask for."""

import contextlib
import os
import uuid

import anthropic
import pytest
import pytest_asyncio

from proxy import Proxy
from sandbox import Sandbox, Standin


@pytest.fixture(autouse=True, scope="session")
def own_environment():
    """No credential, address or header of the developer's own shell takes part."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("ANTHROPIC_")]:
            patch.delenv(name)
        yield


@pytest.fixture(scope="session")
def sandbox():
    return Sandbox.read(os.environ["PORTCULLIS_READY_FILE"])


@pytest.fixture(scope="session")
def standin(sandbox):
    return Standin(sandbox)


@pytest.fixture(scope="session")
def proxy(sandbox):
    """The proxy with limits and revocations."""
    proxy = Proxy.start(sandbox, f"python-{anthropic.__version__}")
    yield proxy
    proxy.stop()


@pytest.fixture
def caller(proxy, test_id):
    """Makes clients of that proxy, one after the other for one and the same subject, which no other test has."""
    with contextlib.ExitStack() as clients:

        def connect(team=None, scope="claude:haiku", **options):
            team = {"team": team} if team else {}
            token = {"auth_token": proxy.sign_token(scope, test_id, **team)} if "auth_token" not in options else {}
            return clients.enter_context(proxy.client(**token, **options))

        yield connect


@pytest.fixture
def connect(sandbox):
    """Makes clients with options of their own, and closes them after the test."""
    with contextlib.ExitStack() as clients:
        yield lambda **options: clients.enter_context(sandbox.client(**options))


@pytest.fixture
def client(connect):
    return connect()


@pytest_asyncio.fixture
async def async_client(sandbox):
    async with sandbox.async_client() as client:
        yield client


@pytest.fixture
def test_id():
    """Marks this test's requests, so that it finds them at the stand-in among those of others."""
    return str(uuid.uuid4())


@pytest.fixture
def marked(test_id):
    """Headers that carry the mark; they pass through the proxy."""
    return {"anthropic-test-id": test_id}
