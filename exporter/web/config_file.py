"""The file of ``EXPORTER_WEB_CONFIG``: TLS and passwords, in the format of Prometheus' exporter-toolkit.

It may have ``tls_server_config`` with certificate, key, client certificates and the lowest version of TLS, and
``basic_auth_users`` with bcrypt hashes. The toolkit's other keys are refused: ignoring them would be less safe than the
file says. Certificate and key are read again when they change; the rest holds until the next start.
"""

import re
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator, Field, PlainValidator

from exporter.settings.kinds import read_by, text
from exporter.settings.problems import Problem, ProblemsError, wrong
from exporter.settings.yaml_rows import Row, read_rows

_SETTING = "EXPORTER_WEB_CONFIG"
_HASH = re.compile(r"\$2[abxy]\$(?:0[4-9]|[12][0-9]|3[01])\$[./A-Za-z0-9]{53}")
_CLIENT_AUTH = {"NoClientCert": ssl.CERT_NONE, "RequireAndVerifyClientCert": ssl.CERT_REQUIRED}
_VERSIONS = {"TLS12": ssl.TLSVersion.TLSv1_2, "TLS13": ssl.TLSVersion.TLSv1_3}


def _one_of(values: Mapping[str, object], name: str) -> PlainValidator:
    return read_by(values.get, "{value} is not a {name}.", "Use one of: {known}.", name=name, known=", ".join(values))


def _hash(value: object) -> str:
    if not isinstance(value, str) or not _HASH.fullmatch(value):
        raise wrong("A password is not a bcrypt hash.", "Make one with: htpasswd -nBC 10 NAME")
    return str(value)


_File = Annotated[Path, BeforeValidator(lambda value: value.at.base / text(value))]


class Tls(Row):
    """``tls_server_config``."""

    cert_file: _File
    key_file: _File
    client_ca_file: _File | None = None
    client_auth_type: Annotated[ssl.VerifyMode, _one_of(_CLIENT_AUTH, "client_auth_type")] = ssl.CERT_NONE
    min_version: Annotated[ssl.TLSVersion, _one_of(_VERSIONS, "min_version")] = ssl.TLSVersion.TLSv1_2

    def context(self) -> ssl.SSLContext:
        """A TLS context with what the files hold now. Raises OSError, which includes ssl.SSLError.

        It is new each time, because a context that fails to load a certificate has none afterwards.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = self.min_version
        # Without a password, OpenSSL asks for one on the terminal, which a service does not have.
        context.load_cert_chain(self.cert_file, self.key_file, password=lambda: "")
        if self.client_ca_file is not None:
            context.load_verify_locations(self.client_ca_file)
        context.verify_mode = self.client_auth_type
        return context


class WebConfig(Row):
    tls_server_config: Tls | None = None
    basic_auth_users: dict[str, Annotated[str, BeforeValidator(_hash)]] = Field(default_factory=dict)


def read_web_config(path: Path) -> WebConfig:
    """Read the file, and open the files that it names. Raises ProblemsError."""
    config = read_rows(path, WebConfig, setting=_SETTING)
    if config.tls_server_config is not None:
        try:
            config.tls_server_config.context()
        except (OSError, ValueError) as exc:  # ValueError: the path has a character that no path has
            why = f"Certificate and key cannot be used ({getattr(exc, 'strerror', None) or exc})."
            fix = "Give two PEM files that belong together."
            raise ProblemsError(Problem(setting=_SETTING, place=path.name, why=why, fix=fix)) from exc
    return config
