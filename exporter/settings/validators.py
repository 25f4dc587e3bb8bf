"""From text to value, one function for each kind of setting.

Each takes the text from the environment or a file, or a value that already has the right type. It raises an error with
two sentences: why the value is wrong and what to do. They never repeat a secret or a URL: a URL may hold a password,
and a secret may have been put where a URL belongs.
"""

import base64
import ipaddress
import re
import zoneinfo
from pathlib import Path
from urllib.parse import urlsplit

from pydantic import SecretStr
from pydantic_core import PydanticCustomError

from exporter.sentences import say
from exporter.settings.problems import did_you_mean, shown, wrong
from exporter.settings.written import Text

_HOST_NAME = re.compile(
    r"(?=.{1,253}\.?\Z)(?!.*[^.]{64})[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?(\.[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?)*\.?"
)
_PROXY_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_OFFSET = re.compile(r"[+-]?[0-9]{1,2}(\.[0-9]{1,6})?", re.ASCII)
_API_PATH = re.compile(r"/(v[0-9]+(beta)?|v[0-9]+/management(/.*)?|management\.html)\Z")
"""The base of an API, as clients of models have it, and the Management API with its page."""
_DATA_API_PATH = re.compile(r"/(rest|auth|storage|functions)/v1\Z")
_BCRYPT = re.compile(r"\$2[abxy]?\$[0-9]{2}\$[./A-Za-z0-9]{53}")
_QUOTED = ('""', "''", "“”", "\u2018\u2019")
_SUPABASE_KEY = re.compile(r"[A-Za-z0-9_.-]+")
"""Keys of projects: ``sb_secret_`` with letters and digits, or the older tokens (JWT)."""
_COPY_IT = "Copy the secret key (sb_secret_...) from the project's settings, API keys."
_SHORTEST_HASH_KEY = 16
_DEFAULT_PORTS = {"http": 80, "https": 443}


def _text(value: object) -> str:
    if isinstance(value, PydanticCustomError):  # why the file of a secret cannot be read
        raise value
    if isinstance(value, SecretStr):
        value = value.get_secret_value()
    if not isinstance(value, str):
        raise wrong(say("It is not a single value."), say("Write it as name: value."))
    return value.strip()


def _unquoted(text: str) -> str:
    """The text of a value that has no quotation marks around it."""
    if len(text) > 1 and text[0] + text[-1] in _QUOTED:
        raise wrong("It has quotation marks around it, which would be part of the value.", "Remove them.")
    return text


def word(value: object) -> str:
    return _text(value).lower()


def log_level(value: object) -> str:
    """A level, with the synonyms of other programs."""
    level = word(value)
    return {"warn": "warning", "critical": "error"}.get(level, level)


def zone_name(value: object) -> str:
    """A name of the IANA time zone database."""
    name = _text(value)
    if is_zone(name):
        return name
    guess = did_you_mean(name, zoneinfo.available_timezones())
    fix = guess or say("Use a name such as Europe/Berlin or Asia/Ho_Chi_Minh.")
    if re.match(r"(UTC|GMT)?[+-]?[0-9]", name):
        fix = say("An offset from UTC goes into TIMEZONE_OFFSET_HOURS, for example 7 or -3.5.")
    raise wrong(say("{value} is not a time zone of the IANA database.", value=shown(name)), fix)


def is_zone(name: str) -> bool:
    """Whether the IANA time zone database has this name."""
    try:
        zoneinfo.ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        return False
    return bool(name)


def offset_hours(value: object) -> float:
    """Hours east of UTC in steps of a quarter of an hour, from -12 to 14."""
    text = _text(value)
    if not _OFFSET.fullmatch(text):
        raise wrong(f"{shown(text)} is not a number of hours.", "Give hours east of UTC, for example 7, -3.5 or 5.75.")
    hours = float(text)
    if not -12 <= hours <= 14 or not (hours * 4).is_integer():
        raise wrong(
            f"{text} is not an offset that is in use anywhere.",
            "Give hours east of UTC from -12 to 14, in steps of 0.25.",
        )
    return hours


def path(value: object) -> Path:
    """A path. A relative one is below the directory of the place where it was written."""
    if isinstance(value, Path):
        return value
    text = _text(value)
    if text.startswith("~"):
        raise wrong("The path starts with ~, which only a shell expands.", "Write the whole path.")
    if not text.isprintable():
        raise wrong("The path contains a control character.", "Write the path on one line.")
    return value.at.base / text if isinstance(value, Text) else Path(text)


def is_loopback(address: str) -> bool:
    """Whether an IP address, or the name ``localhost``, is this machine alone."""
    ip = _ip(address)
    mapped = getattr(ip, "ipv4_mapped", None) or ip
    return address.lower() == "localhost" or (mapped is not None and mapped.is_loopback)


def _ip(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


def _looks_like_host(text: str) -> bool:
    return _HOST_NAME.fullmatch(text) is not None or _ip(text) is not None


def listen_host(value: object) -> str:
    """An IP address or a host name to listen on, without port."""
    text = _text(value)
    if not _looks_like_host(text):
        raise wrong(
            "It is not an IP address or a host name.",
            "Give it without port and brackets, for example 127.0.0.1, or 0.0.0.0 for all interfaces.",
        )
    return text


def host_list(value: object) -> tuple[str, ...]:
    """Host names from a list, or a text with commas; lower case, without port, each once."""
    text = ",".join(map(str, value)) if isinstance(value, list) else _text(value)
    parts = (part.strip().lower().removeprefix("[").removesuffix("]") for part in text.split(","))
    hosts = dict.fromkeys(filter(None, parts))
    if not all(map(_looks_like_host, hosts)):
        raise wrong(
            "One of the names is not a plain host name.",
            "List host names separated by commas, without http://, port, path or *.",
        )
    return tuple(hosts)


def proxy_name(value: object) -> str:
    text = _text(value)
    if not _PROXY_NAME.fullmatch(text):
        raise wrong("It is not a name for a proxy.", "Use 1 to 64 of the characters A-Z a-z 0-9 _ . - in it.")
    return text


def _url(value: object, *, login: tuple[str, str], below: re.Pattern[str] | None = None, names: str = "") -> str:
    """A URL.

    ``login`` is why it must not hold user and password, and what to do about that. If it is the base of other URLs, it
    loses its trailing slash; ``names`` is what a URL with a path ``below`` the right one names.
    """
    text = _unquoted(_text(value))
    like = "Write it like http://localhost:8317 or https://example.com."
    bad = wrong("It is not a URL with a valid host and port.", like)
    if any(character.isspace() or not character.isprintable() for character in text):
        raise bad
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise bad from None
    if parts.scheme not in _DEFAULT_PORTS:
        raise wrong("It does not start with http:// or https://.", like)
    if not parts.hostname or not _looks_like_host(parts.hostname) or port == 0:
        raise bad
    if "?" in text or "#" in text:
        raise wrong("It has a query or a fragment.", "Remove everything from the ? or # on.")
    if "@" in parts.netloc:
        raise wrong(*login)
    base = f"{parts.scheme}://{parts.netloc.lower().rstrip(':')}"
    if below is None:
        return base + parts.path
    url_path = parts.path.rstrip("/")
    if below.search(url_path):
        raise wrong(f"It names {names}.", f"Write {base}{below.sub('', url_path)}.")
    return base + url_path


def proxy_url(value: object) -> str:
    why = "It holds user:password@. CPA would take that as the management key: both come in the same header."
    login = (why, "Remove it, and let the exporter reach CPA without basic authentication.")
    return _url(value, login=login, below=_API_PATH, names="one of the proxy's APIs or a page, not the proxy itself")


def list_url(value: object) -> str:
    why = "It holds user:password@, which is not supported here."
    return _url(value, login=(why, "Use an address that needs no password."))


def supabase_url(value: object) -> str:
    login = ("It holds user:password@.", "Remove it; the key goes into SUPABASE_SECRET_KEY.")
    return _url(value, login=login, below=_DATA_API_PATH, names="one of the project's APIs, not the project")


def same_server(url: str) -> tuple[str, str, int, str]:
    """What all URLs of one server have in common: loopback has one name, and default ports are filled in."""
    parts = urlsplit(url)
    host = (parts.hostname or "").rstrip(".")
    name = "localhost" if is_loopback(host) else host
    return parts.scheme, name, parts.port or _DEFAULT_PORTS[parts.scheme], parts.path


def secret(value: object) -> SecretStr:
    text = _text(value)
    if not text.isprintable():
        raise wrong(say("It contains a line break or a control character."), say("Give the secret on one line."))
    return SecretStr(text)


def management_key(value: object) -> SecretStr:
    """CPA's management key in plain text."""
    key = secret(value)
    text = _unquoted(key.get_secret_value())
    if _BCRYPT.fullmatch(text):
        raise wrong(
            "It is the hash that CPA writes back to its config.yaml, not the key.",
            "Give the key as it was before CPA hashed it; if it is lost, set a new one in CPA.",
        )
    return key


def hash_key(value: object) -> SecretStr:
    key = secret(value)
    if len(key.get_secret_value()) < _SHORTEST_HASH_KEY:
        raise wrong(
            f"It is shorter than {_SHORTEST_HASH_KEY} characters, so hashed e-mail addresses could be guessed.",
            "Make one with: openssl rand -hex 32.",
        )
    return key


def supabase_key(value: object) -> SecretStr:
    """A key that may write: not the publishable one, and not the old token of the role ``anon``."""
    key = secret(value)
    text = key.get_secret_value()
    if text.startswith("sb_publishable_") or _is_anonymous(text):
        raise wrong("It is the project's public key, which may not write.", _COPY_IT)
    if not _SUPABASE_KEY.fullmatch(text):
        raise wrong(
            "It has characters that no key has. The project's page shows dots in place of most of a key until it is"
            " revealed, and quotes are not part of it.",
            _COPY_IT,
        )
    return key


def _is_anonymous(token: str) -> bool:
    try:
        claims = base64.urlsafe_b64decode(token.split(".")[1] + "==")
    except (IndexError, ValueError):
        return False
    return b'"role":"anon"' in claims.replace(b" ", b"")


def alias(value: object) -> str:
    text = _text(value)
    if not 1 <= len(text) <= 100 or not text.isprintable():
        raise wrong(say("It is not a name that can be shown."), say("Give 1 to 100 printable characters."))
    return text
