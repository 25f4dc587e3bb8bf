"""The addresses of a host, by which a refused key is recognized under other names."""

import socket
import threading
from typing import NoReturn

import pytest

from exporter.sources import addresses
from exporter.sources.addresses import addresses_of


def test_a_host_has_the_addresses_that_the_system_knows() -> None:
    assert set(addresses_of("localhost")) & {"127.0.0.1", "::1"}


def test_a_host_that_cannot_be_resolved_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> NoReturn:
        raise socket.gaierror

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    assert addresses_of("proxy.example") == []


def test_a_name_server_that_hangs_does_not_hold_up_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = threading.Event()

    def wait(*_: object, **__: object) -> list[object]:
        answers.wait()
        return []

    monkeypatch.setattr(addresses, "_RESOLVE_SECONDS", 0.0)
    monkeypatch.setattr(socket, "getaddrinfo", wait)
    assert addresses_of("proxy.example") == []
    answers.set()
