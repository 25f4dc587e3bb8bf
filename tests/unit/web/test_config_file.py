"""The file with TLS and passwords: its mistakes, and the check of a password."""

from pathlib import Path

import bcrypt
import pytest
import trustme

from exporter.settings.problems import ProblemsError
from exporter.web.config_file import read_web_config

HASHED = bcrypt.hashpw(b"planted-password", bcrypt.gensalt(4)).decode()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A certificate ``a.pem`` with its key ``a.key``, and the key of another certificate."""
    authority = trustme.CA()
    for name in ("a", "b"):
        issued = authority.issue_cert("localhost")
        issued.private_key_pem.write_to_path(tmp_path / f"{name}.key")
        issued.cert_chain_pems[0].write_to_path(tmp_path / f"{name}.pem")
    return tmp_path


def _file(folder: Path, text: str) -> Path:
    path = folder / "web.yml"
    path.write_text(text)
    return path


def test_the_file_may_be_empty(folder: Path) -> None:
    config = read_web_config(_file(folder, ""))

    assert (config.tls_server_config, config.basic_auth_users) == (None, {})


def test_paths_are_relative_to_the_file(folder: Path) -> None:
    file = _file(folder, "tls_server_config: {cert_file: a.pem, key_file: a.key, min_version: TLS13}")

    assert read_web_config(file).tls_server_config is not None


@pytest.mark.parametrize(
    ("text", "place", "says"),
    [
        ("tls_server_config: {cert_file: a.pem}", "web.yml:1", "key_file is missing. Add key_file."),
        ("tls_server_config: {cert_file: a.pem, key_file: b.key}", "web.yml", "cannot be used"),
        ('tls_server_config: {cert_file: "a\\0b", key_file: a.key}', "web.yml", "cannot be used (embedded null byte)."),
        ("tls_server_config: {cert_file: no.pem, key_file: a.key}", "web.yml", "No such file"),
        ("tls_server_config: {cert_file: a.key, key_file: a.pem}", "web.yml", "cannot be used"),
        ("tls_server_config:\n  cert_file: a.pem\n  key_file: a.key\n  min_version: SSL3", "web.yml:4", "TLS12, TLS13"),
        ("tls_server_config:\n  cert_fle: a.pem\n  key_file: a.key", "web.yml:2", "Did you mean cert_file?"),
        ("http_server_config: {http2: true}", "web.yml:1", "is unknown here"),
        ("basic_auth_users:\n  alice: planted-password", "web.yml:2", "htpasswd"),
        (f"basic_auth_users:\n  alice: $2b$03${'x' * 53}", "web.yml:2", "htpasswd"),
        (f"basic_auth_users:\n  alice: $2b$32${'x' * 53}", "web.yml:2", "htpasswd"),
    ],
)
def test_a_mistake_is_reported_with_its_line(folder: Path, text: str, place: str, says: str) -> None:
    with pytest.raises(ProblemsError) as raised:
        read_web_config(_file(folder, text))

    assert [problem for problem in raised.value.problems if problem.place == place and says in str(problem)]
    assert "planted-password" not in str(raised.value)
