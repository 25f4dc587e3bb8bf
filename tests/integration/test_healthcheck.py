"""The image's health check, against the exporter as a separate process."""

import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import trustme

from tests.fakes.steered.proxy import SteeredProxy
from tests.fakes.steered.server import SteeredServer
from tests.stack.loopback import free_port
from tests.stack.running import environment, exporter_process


def _check(**settings: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "exporter.commands.healthcheck"],
        env=environment(settings),
        capture_output=True,
        text=True,
        check=False,
    )


def test_an_exporter_is_healthy_while_it_runs_whatever_its_settings(tmp_path: Path) -> None:
    proxy, port = SteeredProxy(), str(free_port())
    with (
        SteeredServer(proxy) as server,
        exporter_process(
            tmp_path, proxy_url=server.url, key=proxy.logins.key, EXPORTER_TOKEN="a-token", EXPORTER_PORT=port
        ) as process,
    ):
        assert process.url.endswith(f":{port}")
        results = [
            _check(EXPORTER_PORT=port, EXPORTER_HOST="0.0.0.0"),  # noqa: S104 - the image listens there
            _check(EXPORTER_PORT=port),
            _check(COLLECTOR_TRIGGER_PORT=port),
            _check(EXPORTER_PORT="", COLLECTOR_TRIGGER_PORT=port),
            _check(EXPORTER_PORT=port, http_proxy="http://127.0.0.1:9", HTTP_PROXY="http://127.0.0.1:9"),
        ]
        assert process.stop() == 0
    after = _check(EXPORTER_PORT=port)

    assert [(each.returncode, each.stderr) for each in results] == [(0, "")] * len(results)
    assert after.returncode == 1
    assert after.stderr.startswith(f"127.0.0.1:{port} does not answer: ")


@contextmanager
def _answering(answer: bytes) -> Iterator[str]:
    """The port of a server that gives this answer to the first request."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            connection, _ = listening.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        yield str(listening.getsockname()[1])
        thread.join()


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        pytest.param(b"HTTP/1.1 503 Service Unavailable\r\n\r\n", "answers with status 503", id="a bad status"),
        pytest.param(b"SSH-2.0-OpenSSH_10.0\r\n", "does not answer: SSH-2.0-OpenSSH_10.0", id="another program"),
        pytest.param(b"", "does not answer: ", id="nothing"),
    ],
)
def test_anything_but_a_healthy_exporter_is_reported(answer: bytes, says: str) -> None:
    with _answering(answer) as port:
        done = _check(EXPORTER_PORT=port)

    assert done.returncode == 1
    assert done.stderr.startswith(f"127.0.0.1:{port} {says}")


def test_a_port_that_is_not_a_number_is_reported() -> None:
    done = _check(EXPORTER_PORT="tcp://10.0.0.1:9317")

    assert (done.returncode, done.stderr.count("\n")) == (1, 1)


def _tls(*, asks_visitors: bool) -> ssl.SSLContext:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    if asks_visitors:
        authority.configure_trust(context)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


@pytest.mark.parametrize(
    ("asks_visitors", "healthy"),
    [
        pytest.param(True, True, id="a server that wants a certificate"),
        pytest.param(False, False, id="a server that answers nobody"),
    ],
)
def test_a_connection_that_ends_before_the_alert_arrives_is_asked_why(asks_visitors: bool, healthy: bool) -> None:
    """With TLS 1.3 a request that is on its way when the server closes can cost the client the server's last words."""
    contexts = [_tls(asks_visitors=False), _tls(asks_visitors=asks_visitors)]
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            listening.accept()[0].close()  # the attempt without TLS
            for context in contexts:
                with suppress(OSError), context.wrap_socket(listening.accept()[0], server_side=True) as connection:
                    connection.recv(1)

        thread = threading.Thread(target=serve)
        thread.start()
        done = _check(EXPORTER_PORT=str(listening.getsockname()[1]), EXPORTER_WEB_CONFIG="web.yml")
        listening.shutdown(socket.SHUT_RDWR)  # if it was not asked that often
        thread.join()
    assert (done.returncode == 0) is healthy, done.stderr
