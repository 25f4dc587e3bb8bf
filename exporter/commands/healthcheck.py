"""``python -m exporter.commands.healthcheck``: exit code 0 if this container's exporter answers, else a sentence and 1.

The image's HEALTHCHECK runs it, because the image has no curl and the port may differ. It reads only the environment:
loading all settings would cost a second of processor time every half minute.
"""

import http.client
import os
import socket
import sys
from collections.abc import Mapping

_DEFAULT_PORT = "9317"
_SECONDS = 4.0


def problem(environ: Mapping[str, str]) -> str:
    """Why the exporter is not healthy; empty if it is."""
    port = environ.get("EXPORTER_PORT") or environ.get("COLLECTOR_TRIGGER_PORT") or _DEFAULT_PORT
    host = environ.get("EXPORTER_HOST", "")
    if host in ("", "0.0.0.0"):  # noqa: S104 - compared, not bound
        host = "127.0.0.1"
    elif host == "::":
        host = "::1"
    try:
        try:
            # Not urllib, which would use the environment's HTTP proxy.
            status = _status(http.client.HTTPConnection(host, int(port), timeout=_SECONDS))
        except (OSError, http.client.HTTPException):
            if not environ.get("EXPORTER_WEB_CONFIG"):
                raise
            status = _status_over_tls(host, int(port))
    except (OSError, ValueError, http.client.HTTPException) as exc:
        # If it asks for a client certificate, it is alive.
        is_alive = getattr(exc, "reason", "") == "TLSV13_ALERT_CERTIFICATE_REQUIRED"
        return "" if is_alive else f"{host}:{port} does not answer: {exc}"
    return "" if status == http.HTTPStatus.OK else f"{host}:{port} answers with status {status}"


def _status_over_tls(host: str, port: int) -> int:
    import ssl  # noqa: PLC0415 - costs as much as all the rest, and few use TLS

    # The question is whether it is alive, not who it is: the certificate is for another name.
    context = ssl._create_unverified_context()  # noqa: S323
    try:
        return _status(http.client.HTTPSConnection(host, port, timeout=_SECONDS, context=context))
    except OSError:
        # With TLS 1.3 a server that asks for a certificate closes only after the handshake. A request that is on its
        # way then can cost us the server's reason, so connect again and only listen.
        with (
            socket.create_connection((host, port), _SECONDS) as connection,
            context.wrap_socket(connection) as listening,
        ):
            listening.recv(1)
        raise


def _status(connection: http.client.HTTPConnection) -> int:
    try:
        connection.request("GET", "/-/healthy")
        return connection.getresponse().status
    finally:
        connection.close()


if __name__ == "__main__":
    sys.exit(problem(os.environ) or 0)
