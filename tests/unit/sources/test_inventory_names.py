"""The proxy's names for its accounts and clients, from its own lists."""

from collections.abc import Iterator

import pytest

from exporter.simulator.world import CLIENTS, CREDENTIALS
from exporter.sources.all_sources import detect
from exporter.sources.inventory import Names, fetch_names
from exporter.sources.proxy_client import ProxyClient
from tests.benches.booking import PSEUDONYMS
from tests.fakes.guarding import KEY, make_guard
from tests.fakes.planted import secrets
from tests.fakes.steered.proxy import SteeredProxy
from tests.fakes.steered.server import SteeredServer


@pytest.fixture
def server() -> Iterator[SteeredServer]:
    with SteeredServer(SteeredProxy(key=KEY)) as server:
        yield server


def _fetch(server: SteeredServer) -> Names:
    client = ProxyClient(name="default", url=server.url, key=KEY, guard=make_guard(url=server.url))
    try:
        return fetch_names(client, detect(client).paths, PSEUDONYMS.of, now_ms=0)
    finally:
        client.close()


@pytest.mark.parametrize("version", ["v6.9.49", "v7.2.140", "v8.0.3"])
def test_every_account_and_client_has_its_name(server: SteeredServer, version: str) -> None:
    server.proxy.upgrade(version)
    names = _fetch(server)
    called = {names.of(account, kind) for account in names.accounts for kind in ("email", "file", "key")} - {""}
    known = {each for credential in CREDENTIALS for each in (credential.email, credential.file_name, credential.key)}
    assert called == known - {""}
    assert [names.raw[pseudonym] for pseudonym in names.clients] == [client.key for client in CLIENTS]
    assert names.problems == []
    assert not any(secret in repr(names) for secret in secrets())


def test_a_list_that_cannot_be_read_is_reported_and_costs_only_itself(server: SteeredServer) -> None:
    server.proxy.fault(path="api-keys", kind="status", status=200, body=b'{"api-keys": {"sk-secret": 1}}', times=None)
    names = _fetch(server)
    assert names.clients == []
    assert len(names.accounts) == len(CREDENTIALS)
    (problem,) = names.problems
    assert "answered /v0/management/api-keys with something that is not CPA's" in problem
    assert "sk-secret" not in problem


@pytest.mark.parametrize("path", ["auth-files", "claude-api-key", "openai-compatibility", "api-key-usage"])
def test_a_list_of_another_shape_is_named_with_its_proxy(server: SteeredServer, path: str) -> None:
    server.proxy.fault(path=path, kind="status", status=200, body=b"[]", times=None)
    (problem,) = _fetch(server).problems
    assert problem.startswith("Proxy 'default' at ")
    assert problem.endswith(f"answered /v0/management/{path} with something that is not CPA's.")


def test_a_proxy_without_such_a_list_has_no_clients(server: SteeredServer) -> None:
    server.proxy.fault(path="api-keys", kind="status", status=404, body=b"404 page not found", times=None)
    assert (_fetch(server).clients, _fetch(server).problems) == ([], [])


@pytest.mark.parametrize(
    ("odd", "sentence"),
    [
        pytest.param(b"[7]", "lists 1 credential in /v0/management/auth-files that cannot be read.", id="one"),
        pytest.param(b"[7, 8]", "lists 2 credentials in /v0/management/auth-files that cannot be read.", id="two"),
    ],
)
def test_accounts_that_cannot_be_read_are_counted(server: SteeredServer, odd: bytes, sentence: str) -> None:
    body = b'{"files": ' + odd + b"}"
    server.proxy.fault(path="auth-files", kind="status", status=200, body=body, times=None)
    (problem,) = _fetch(server).problems
    assert problem.endswith(sentence)
