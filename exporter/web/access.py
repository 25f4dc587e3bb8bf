"""Who may ask what: tokens, passwords, and protection from web pages of other sites.

Without a token or passwords, only this machine may POST. But a browser runs on this machine, too. So a POST from a
foreign page (``Origin``) and a request for a foreign name that was pointed here (``Host``) are always refused.
"""

import hashlib
import hmac
from collections.abc import Collection, Mapping
from urllib.parse import SplitResult, urlsplit

from flask import Request
from werkzeug.exceptions import Forbidden, Unauthorized

from exporter.sentences import say
from exporter.settings.kinds import is_loopback

_LOCAL_NAMES = frozenset({"localhost", "localhost.localdomain", "ip6-localhost"})
_LONGEST_PASSWORD = 72


class Access:
    """The rules. ``allowed_hosts`` are additional names that a request over loopback may use.

    ``users`` have bcrypt hashes by name. For any thread.
    """

    def __init__(self, *, token: str | None, allowed_hosts: Collection[str], users: Mapping[str, str]) -> None:
        self._token = token
        self._users = {name: hashed.encode() for name, hashed in users.items()}
        self._right: set[bytes] = set()
        self._asks = token is not None or bool(self._users)
        self._allowed_hosts = frozenset(name.lower() for name in allowed_hosts)

    def check(self, request: Request, *, public: bool) -> None:
        """Return if the request may be served; ``public`` paths need no token. Raises Forbidden and Unauthorized."""
        self._check_host(request)
        if request.method not in ("GET", "HEAD", "OPTIONS"):
            self._check_origin(request)
            if not self._asks and not is_loopback(request.remote_addr or ""):
                raise Forbidden(say("Only this machine may do that. Set EXPORTER_TOKEN to allow it from elsewhere."))
        if self._asks and not public and not self._has_token(request) and not self._has_password(request):
            if self._token is None:
                raise Unauthorized(say("A password is needed: that of a user in the file of EXPORTER_WEB_CONFIG."))
            raise Unauthorized(say("A token is needed: send EXPORTER_TOKEN as a bearer token or as the password."))

    def _check_host(self, request: Request) -> None:
        given = request.headers.get("Host")
        if given is None or not is_loopback(request.remote_addr or ""):
            return  # no Host: a program that speaks HTTP/1.0, as a browser always sends one
        name = (_split(f"//{given}").hostname or "").lower()
        if name not in _LOCAL_NAMES and name not in self._allowed_hosts and not is_loopback(name):
            raise Forbidden(
                say(
                    "This host name is not known here. If a reverse proxy on this machine passes it on, add it to"
                    " EXPORTER_ALLOWED_HOSTS."
                ),
            )

    def _check_origin(self, request: Request) -> None:
        origin = request.headers.get("Origin")
        if origin is not None and (not request.host or _split(origin).netloc.lower() != request.host.lower()):
            raise Forbidden(say("A page of another site may not do that."))

    def _has_token(self, request: Request) -> bool:
        if self._token is None:
            return False
        kind, _, rest = request.headers.get("Authorization", "").partition(" ")
        given = b""
        if kind.lower() == "bearer":
            # Not parsed by werkzeug, which takes a token with "=" inside for a list of parameters.
            given = rest.strip().encode("latin-1", "replace")  # the bytes as sent
        elif kind.lower() == "basic" and request.authorization is not None:
            given = (request.authorization.password or "").encode()
        return hmac.compare_digest(given, self._token.encode())

    def _has_password(self, request: Request) -> bool:
        given = request.authorization
        if not self._users or given is None or given.type != "basic":
            return False
        user, password = given.username or "", given.password or ""
        # bcrypt is slow on purpose, and a scraper asks every few seconds, so right answers are kept as a digest.
        digest = hashlib.sha256(f"{user}\0{password}".encode()).digest()
        if digest in self._right:
            return True
        import bcrypt  # noqa: PLC0415 - needed only if there are users

        # An unknown user takes as long as a known one. bcrypt refuses more than 72 bytes, so no hash is of more.
        hashed = self._users.get(user) or next(iter(self._users.values()))
        right = len(password.encode()) <= _LONGEST_PASSWORD and bcrypt.checkpw(password.encode(), hashed)
        if right and user in self._users:
            self._right.add(digest)
        return right and user in self._users


def _split(url: str) -> SplitResult:
    """The parts of a URL; all are empty if the text is not one."""
    try:
        return urlsplit(url)
    except ValueError:
        return urlsplit("")
