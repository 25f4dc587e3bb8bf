"""From text to value: a type for each kind of setting.

Errors have two sentences: why the value is wrong and what to do. They never repeat a secret or a URL: a URL may hold a
password, and a secret may have been put where a URL belongs.
"""

import base64
import ipaddress
import re
import zoneinfo
from collections.abc import Callable
from datetime import date, tzinfo
from pathlib import Path
from typing import Annotated, Literal, TypeVar
from urllib.parse import urlsplit

from pydantic import AfterValidator, AliasChoices, BeforeValidator, PlainValidator, SecretStr
from pydantic_core import PydanticKnownError

from exporter.sentences import pattern, say
from exporter.settings.problems import ProblemsError, nearest, shown, wrong
from exporter.settings.yaml_values import Text

_HOST_NAME = re.compile(
    r"(?=.{1,253}\.?\Z)(?!.*[^.]{64})[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?(\.[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?)*\.?"
)
_API_PATH = re.compile(r"/(v[018]|v1beta|v[0-9]+/management(/.*)?|management\.html)\Z")
"""Paths at CPA that are not the proxy itself: the bases of its APIs for clients, the Management API, and its page."""
_DATA_API_PATH = re.compile(r"/(rest|auth|storage|functions)/v1\Z")
_BCRYPT = re.compile(r"\$2[abxy]?\$[0-9]{2}\$[./A-Za-z0-9]{53}")
_QUOTED = ('""', "''", "“”", "\u2018\u2019")
_SUPABASE_KEY = re.compile(r"[A-Za-z0-9_.-]+")
"""Keys of projects: ``sb_secret_`` with letters and digits, or the older tokens (JWT)."""
_COPY_IT = "Copy the secret key (sb_secret_...) from the project's settings, API keys."
_DATE = re.compile(r"20[0-9]{2}-[0-9]{2}-[0-9]{2}", re.ASCII)
_Value = TypeVar("_Value")
_Checked = TypeVar("_Checked", str, SecretStr)


def only(is_right: Callable[[str], object], why: str, fix: str) -> AfterValidator:
    """A validator that refuses a text or secret, with ``why`` and ``fix``, unless it ``is_right``."""

    def check(value: _Checked) -> _Checked:
        if not is_right(value.get_secret_value() if isinstance(value, SecretStr) else value):
            raise wrong(why, fix)
        return value

    return AfterValidator(check)


def text(value: object) -> str:
    """A validator: a text that is not empty."""
    if isinstance(value, str) and value:
        return str(value)
    raise PydanticKnownError("string_type")


def read_by(read: Callable[[str], _Value | None], why: str, fix: str, **values: object) -> PlainValidator:
    """A validator that applies ``read`` to the text. None or a ValueError is refused, with ``why`` and ``fix``."""

    def check(value: object) -> _Value:
        written = text(value)
        try:
            found = read(written)
        except ValueError:
            found = None
        if found is None:
            raise wrong(why, fix, value=shown(written), **values)
        return found

    return PlainValidator(check)


def _day(written: str) -> date | None:
    return date.fromisoformat(written) if _DATE.fullmatch(written) else None


def zone_name(name: str) -> str:
    """A name of the IANA time zone database."""
    if is_zone(name):
        return name
    zones = sorted(zoneinfo.available_timezones())
    region, _, city = name.lower().rpartition("/")
    likely = [zone for zone in zones if zone.lower().startswith(f"{region}/")] or zones
    cities = {zone.lower().rpartition("/")[2]: zone for zone in likely}
    guess = cities.get(nearest(city, cities))
    fix = say("Use a name such as Europe/Berlin or Asia/Shanghai.")
    if guess and not re.fullmatch("[A-Z]{2,4}T", name):  # CEST is not like EST
        fix = say("Did you mean {name}?", name=guess)
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


def _path(value: object) -> object:
    """A path. A relative one is below the directory of the place where it was written."""
    if not isinstance(value, Text):
        return value
    if value.startswith("~"):
        raise wrong("The path starts with ~, which only a shell expands.", "Write the whole path.")
    if not value.isprintable():
        raise wrong("The path contains a control character.", "Write the path on one line.")
    return value.at.base / value


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


def _host_list(names: tuple[str, ...]) -> tuple[str, ...]:
    """Host names in lower case, without ports or duplicates. A text may hold several, separated by commas."""
    parts = (part.strip().lower().removeprefix("[").removesuffix("]") for part in ",".join(names).split(","))
    hosts = tuple(dict.fromkeys(filter(None, parts)))
    if not all(map(_looks_like_host, hosts)):
        raise wrong(
            "One of the names is not a plain host name.",
            "List host names separated by commas, without http://, port, path or *.",
        )
    return hosts


def _url(text: str, *, login: tuple[str, str], below: re.Pattern[str] | None = None, names: str = "") -> str:
    """A URL.

    ``login`` says why it must not hold user and password, and what to do about that. With ``below``, the URL is the
    base of others: it loses its trailing slash. A path that matches ``below`` is refused; ``names`` says what
    such a URL names.
    """
    like = "Write it like http://localhost:8317 or https://example.com."
    if not text.lower().startswith(("http://", "https://")):
        raise wrong("It does not start with http:// or https://.", like)
    try:
        parts = urlsplit(text)
        has_host = _looks_like_host(parts.hostname or "") and parts.port != 0
    except ValueError:
        has_host = False
    if not has_host or " " in text or not text.isprintable():
        raise wrong("It is not a URL with a valid host and port.", like)
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


def proxy_url(text: str) -> str:
    why = "It holds user:password@. CPA would take that as the management key: both come in the same header."
    login = (why, "Remove it, and let the exporter reach CPA without basic authentication.")
    return _url(text, login=login, below=_API_PATH, names="one of the proxy's APIs or a page, not the proxy itself")


def _list_url(text: str) -> str:
    why = "It holds user:password@, which is not supported here."
    return _url(text, login=(why, "Use an address that needs no password."))


def _supabase_url(text: str) -> str:
    login = ("It holds user:password@.", "Remove it; the key goes into SUPABASE_SECRET_KEY.")
    return _url(text, login=login, below=_DATA_API_PATH, names="one of the project's APIs, not the project")


def same_server(url: str) -> tuple[str, str, int, str]:
    """What all URLs of one server have in common: loopback has one name, and default ports are filled in."""
    parts = urlsplit(url)
    host = (parts.hostname or "").rstrip(".")
    name = "localhost" if is_loopback(host) else host
    return parts.scheme, name, parts.port or {"http": 80, "https": 443}[parts.scheme], parts.path


def _text_of_file(value: object) -> object:
    """The value itself, or for ``<name>_file`` the text of the file that it names."""
    if not isinstance(value, Text) or not value.at.name.lower().endswith("_file"):
        return value
    try:
        text = value.file.strip()
    except ProblemsError as error:
        raise wrong(error.problems[0].why, error.problems[0].fix) from None
    if not text:
        raise wrong(say("The file is empty."), say("Put the secret into it."))
    return text


def _is_anonymous(token: str) -> bool:
    try:
        claims = base64.urlsafe_b64decode(token.split(".")[1] + "==")
    except (IndexError, ValueError):
        return False
    return b'"role":"anon"' in claims.replace(b" ", b"")


def or_file(name: str) -> AliasChoices:
    """The names of a secret: ``name`` is set to the secret itself, ``<name>_file`` to the path of a file with it."""
    return AliasChoices(name, f"{name}_file")


IN_LOWER_CASE = BeforeValidator(lambda value: value.lower() if isinstance(value, str) else value)
"""For a setting that is one of a few words: capitals do not matter."""
ONE_OR_LIST = BeforeValidator(lambda value: (value,) if isinstance(value, str) else value)
PRINTABLE = only(str.isprintable, pattern("It holds a line break or control character."), pattern("Remove it."))
_UNQUOTED = only(
    lambda value: len(value) < 2 or value[0] + value[-1] not in _QUOTED,
    pattern("It has quotation marks around it, which would be part of the value."),
    pattern("Remove them."),
)
_IS_HOST = only(
    _looks_like_host,
    "It is not an IP address or a host name.",
    "Give it without port and brackets, for example 127.0.0.1, or 0.0.0.0 for all interfaces.",
)
_IS_PROXY_NAME = only(
    re.compile(r"[A-Za-z0-9_.-]{1,64}").fullmatch,
    "It is not a name for a proxy.",
    "Use 1 to 64 of the characters A-Z a-z 0-9 _ . - in it.",
)
_IS_NO_HASH = only(
    lambda key: not _BCRYPT.fullmatch(key),
    "It is the hash that CPA writes back to its config.yaml, not the key.",
    "Give the key as it was before CPA hashed it; if it is lost, set a new one in CPA.",
)
_IS_LONG = only(
    lambda key: len(key) >= 16,
    "It is shorter than 16 characters, so hashed e-mail addresses could be guessed.",
    "Make one with: openssl rand -hex 32.",
)
_MAY_WRITE = only(
    lambda key: not key.startswith("sb_publishable_") and not _is_anonymous(key),
    "It is the project's public key, which may not write.",
    _COPY_IT,
)
_IS_WHOLE = only(
    _SUPABASE_KEY.fullmatch,
    "It has characters that no key has. The project's page shows dots in place of most of a key until it is revealed.",
    _COPY_IT,
)

File = Annotated[Path, BeforeValidator(_path)]
Host = Annotated[str, _IS_HOST]
"""An IP address or a host name to listen on, without port."""
HostList = Annotated[tuple[str, ...], ONE_OR_LIST, AfterValidator(_host_list)]
ListUrl = Annotated[str, _UNQUOTED, AfterValidator(_list_url)]
ProxyName = Annotated[str, _IS_PROXY_NAME]
ProxyUrl = Annotated[str, _UNQUOTED, AfterValidator(proxy_url)]
SupabaseUrl = Annotated[str, _UNQUOTED, AfterValidator(_supabase_url)]
ZoneName = Annotated[str, AfterValidator(zone_name)]
LogLevel = Annotated[
    Literal["debug", "info", "warning", "error"],
    BeforeValidator(lambda level: {"warn": "warning", "critical": "error"}.get(str(level), level)),  # others' names
    IN_LOWER_CASE,
]
Day = Annotated[date, read_by(_day, pattern("{value} is not a day."), pattern("Write it as 2026-11-24."))]
Zone = Annotated[tzinfo, PlainValidator(lambda value: zoneinfo.ZoneInfo(zone_name(text(value))))]
Quotas = Annotated[Literal["passive", "active"], IN_LOWER_CASE]
Source = Annotated[Literal["queue", "subscribe"], IN_LOWER_CASE]

SecretText = Annotated[SecretStr, BeforeValidator(_text_of_file)]
Secret = Annotated[SecretText, PRINTABLE, _UNQUOTED]
ManagementKey = Annotated[Secret, _IS_NO_HASH]
HashKey = Annotated[SecretText, PRINTABLE, _IS_LONG]  # in quotes, too: without them it would be another key
SupabaseKey = Annotated[Secret, _MAY_WRITE, _IS_WHOLE]
