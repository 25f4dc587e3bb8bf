"""The exporter with its own TLS and users, as Prometheus and browsers meet it."""

import socket
import ssl
import subprocess
import sys
from contextlib import AbstractContextManager
from pathlib import Path

import bcrypt
import httpx
import pytest
import trustme

from tests.stack import loopback
from tests.stack.running import Process, environment, exporter_process
from tests.stack.waiting import PATIENCE_SECONDS, wait_until

PASSWORD = "planted-password"
HASHED = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode()
AUTHORITY = trustme.CA()


def _issue(folder: Path) -> None:
    issued = AUTHORITY.issue_cert("localhost", "127.0.0.1")
    issued.private_key_pem.write_to_path(folder / "web.key")
    issued.cert_chain_pems[0].write_to_path(folder / "web.pem")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    _issue(tmp_path)
    AUTHORITY.cert_pem.write_to_path(tmp_path / "ca.pem")
    return tmp_path


def _start(folder: Path, text: str, **settings: str) -> AbstractContextManager[Process]:
    (folder / "web.yml").write_text(text)
    return exporter_process(
        folder, proxy_url="http://127.0.0.1:9", key="a-key", EXPORTER_WEB_CONFIG="web.yml", **settings
    )


def _client(**options: object) -> httpx.Client:
    context = ssl.create_default_context()
    AUTHORITY.configure_trust(context)
    return httpx.Client(verify=context, trust_env=False, timeout=PATIENCE_SECONDS, **options)  # type: ignore[arg-type]


def _serial(process: Process) -> str:
    host, port = "127.0.0.1", int(process.url.rpartition(":")[2])
    return ssl.get_server_certificate((host, port))


def _healthy(process: Process) -> bool:
    settings = {"EXPORTER_PORT": process.url.rpartition(":")[2], "EXPORTER_WEB_CONFIG": "web.yml"}
    command = [sys.executable, "-m", "exporter.commands.healthcheck"]
    return subprocess.run(command, env=environment(settings), check=False).returncode == 0


def test_https_with_users_and_a_renewed_certificate(folder: Path) -> None:
    tls = "tls_server_config: {cert_file: web.pem, key_file: web.key}\n"
    with _start(folder, f"{tls}basic_auth_users: {{alice: {HASHED}}}\n", EXPORTER_TOKEN="a-token") as process:
        assert process.url.startswith("https://")
        port = int(process.url.rpartition(":")[2])
        silent = socket.create_connection(("127.0.0.1", port))  # no handshake: it must delay nobody
        with _client(base_url=process.url) as client:
            answers = [
                client.get("/metrics").status_code,
                client.get("/metrics", auth=("alice", PASSWORD)).status_code,
                client.get("/metrics", auth=("alice", "wrong")).status_code,
                client.get("/metrics", headers={"Authorization": "Bearer a-token"}).status_code,
                client.get("/-/healthy").status_code,
            ]
        silent.close()
        with pytest.raises(httpx.HTTPError):
            loopback.get(f"http://127.0.0.1:{port}/metrics")
        healthy = _healthy(process)
        before = _serial(process)
        _issue(folder)
        wait_until(lambda: _serial(process) != before)
        with _client(base_url=process.url) as client:
            renewed = client.get("/-/healthy").status_code
        assert process.stop() == 0

    assert answers == [401, 200, 401, 200, 200]
    assert healthy
    assert renewed == 200
    assert process.logged("event=web_server") == [], "a visitor without TLS is no event"
    assert PASSWORD not in "\n".join(process.log)


def test_a_new_certificate_without_its_key_leaves_the_old_one_in_use(folder: Path) -> None:
    with _start(folder, "tls_server_config: {cert_file: web.pem, key_file: web.key}\n") as process:
        before = _serial(process)
        key = (folder / "web.key").read_bytes()
        _issue(folder)
        new_key = (folder / "web.key").read_bytes()
        (folder / "web.key").write_bytes(key)
        assert _serial(process) == before
        assert len(process.logged("certificate_not_reloaded")) == 1
        (folder / "web.key").write_bytes(new_key)
        wait_until(lambda: _serial(process) != before)


def test_only_visitors_with_a_certificate_are_served(folder: Path) -> None:
    tls = (
        "{cert_file: web.pem, key_file: web.key, client_ca_file: ca.pem, client_auth_type: RequireAndVerifyClientCert}"
    )
    with _start(folder, f"tls_server_config: {tls}\n") as process:
        with _client() as client, pytest.raises(httpx.HTTPError):
            client.get(f"{process.url}/metrics")
        own = ssl.create_default_context()
        AUTHORITY.configure_trust(own)
        AUTHORITY.issue_cert("prometheus").configure_cert(own)
        served = httpx.get(f"{process.url}/metrics", verify=own, trust_env=False, timeout=PATIENCE_SECONDS)
        healthy = _healthy(process)

    assert served.status_code == 200
    assert healthy
    assert process.logged("event=web_server") == [], "nor is one without a certificate"
