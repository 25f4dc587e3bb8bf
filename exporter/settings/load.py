"""Load the settings: environment over ``.env`` over the YAML file over defaults.

Everything is read and checked before anything is reported, so that all problems are seen at once, each with its place
and what to do. Only the named files are opened, and nothing is written.

The environment belongs to many programs, so names of others are left alone. An unknown name that looks like ours gets a
warning, because a misspelt setting would otherwise be ignored silently. An empty value counts as not set: that is how
Compose and many ``.env`` files pass a setting that was left out.
"""

import datetime
import io
import os
import re
from collections import ChainMap
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from dotenv.parser import parse_stream
from pydantic import ValidationError

from exporter.sentences import say
from exporter.settings.kinds import is_loopback
from exporter.settings.model import Settings, declared
from exporter.settings.problems import Problem, ProblemsError, did_you_mean, nearest
from exporter.settings.proxies import Aliases, ProxySettings
from exporter.settings.yaml_rows import problems_of
from exporter.settings.yaml_values import Node, Place, Text, read_text, read_yaml

_DOTENV = ".env"
_OURS = re.compile(r"(CLIPROXY_|EXPORTER_|COLLECTOR_|SUPABASE_|TIMEZONE|LOG_)")
_NEARLY_THE_SAME = 0.9
_INJECTED_NAME = re.compile(r".+_(PORT_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?|SERVICE_HOST|SERVICE_PORT(_.+)?)")
_INJECTED_VALUE = re.compile(r"(tcp|udp|sctp)://")
_OF_PREDECESSOR = {"SUPABASE_PUBLISHABLE_KEY", "SUPABASE_KEY", "SUPABASE_SERVICE_KEY", "OAUTH_SYNC_INTERVAL_SECONDS"}
_KNOWN = {name: setting for setting in declared() for name in setting.names}

_NEEDS = {
    "cliproxy_url": "cliproxy_management_key",
    "supabase_url": "supabase_secret_key",
    "supabase_secret_key": "supabase_url",
}
"""Settings that are useless without another one."""

NO_PROXY = (
    "No proxy is configured. Set CLIPROXY_MANAGEMENT_KEY (and CLIPROXY_URL, if CLIProxyAPI is not on "
    "http://localhost:8317), or list proxies in the file that EXPORTER_CONFIG names. "
    "To look around without a proxy, run: cliproxy-exporter demo."
)


@dataclass(kw_only=True)
class Loaded:
    """The outcome of loading. ``settings`` is None if there are problems.

    ``origins`` says where each setting's value came from, by its name in the environment. ``problems`` are mistakes,
    ``warnings`` deserve a look, and ``notes`` only inform.
    """

    settings: Settings | None = None
    origins: dict[str, str] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)
    notes: list[Problem] = field(default_factory=list)

    def require(self) -> Settings:
        """The settings. Raises ProblemsError if there are any problems."""
        if self.settings is None:
            raise ProblemsError(*self.problems)
        return self.settings

    @contextmanager
    def collecting(self) -> Iterator[None]:
        """Add the problems that are raised in this context, and go on after it."""
        try:
            yield
        except ProblemsError as error:
            self.problems += error.problems


def load_settings(
    environ: Mapping[str, str],
    *,
    cwd: Path,
    data_dir: Path | None = None,
    machine_zone: str | None = None,
    file_readers: Mapping[str, Callable[[Path], object]] | None = None,
    for_demo: bool = False,
    flags: Mapping[str, str] | None = None,
) -> Loaded:
    """Read all settings. Relative paths are below ``cwd``, in the YAML file below the directory of that file.

    ``data_dir`` (``data`` below ``cwd`` if None) and ``machine_zone`` are the defaults of data directory and time zone.

    ``file_readers`` read the files that settings name, by the setting's name in YAML, so that all problems are reported
    together. ``flags`` are settings by their names in the environment; they take precedence.

    ``for_demo`` ignores the settings of proxies and Supabase. The demo has a proxy of its own, and an incomplete
    configuration, such as the URL alone that docker-compose.yml always sets, must not stop it.
    """
    loaded = Loaded()
    layers = ChainMap(
        _read_environment(flags or {}, "command line", cwd, loaded),
        _read_environment(environ, "environment", cwd, loaded),
        _read_dotenv(cwd, loaded),
    )
    config = layers.get("exporter_config")
    if isinstance(config, Text) and not config.startswith("~"):  # a path with ~ is reported below
        with loaded.collecting():
            layers.maps.append(_read_config(config.at.base / config, loaded))
    ignored = ("cliproxy_", "supabase_", "proxies") if for_demo else ()
    given = {name: node for name, node in layers.items() if not name.startswith(ignored)}
    for setting in declared():
        name, older = setting.names[0].lower(), given.pop(setting.also.lower(), None)
        if older is not None and (value := given.setdefault(name, older)) != older:
            why = f"It is the older name of {value.at.name} ({value.at}), which has another value."
            loaded.problems.append(older.at.problem(why, "Set only one of the two."))
        loaded.origins[setting.names[0]] = str(_place(given, name) or "default")
    seen: dict[object, Place] = {}
    default = _default_proxy(given, seen)
    settings, right = _checked(given, loaded, seen)
    proxies = (*default, *settings.proxies)
    found: dict[str, object] = {"proxies": tuple(_reached(proxy, settings.cliproxy_localhost) for proxy in proxies)}
    if "exporter_data_dir" not in given:
        found["exporter_data_dir"] = data_dir or cwd / "data"
    if "timezone" not in given and "timezone_offset_hours" not in given:
        found["timezone"] = machine_zone
    _check_pairs(given, right, loaded)
    if given.keys() - right.keys() <= {"proxies", "aliases"}:
        _compare_zones(settings, given, loaded)
        _warn_of_open_port(settings, given, loaded)
    for name, reader in (file_readers or {}).items():
        if (file := getattr(settings, name)) is not None:
            with loaded.collecting():
                reader(file)
    if not loaded.problems:
        loaded.settings = settings.model_copy(update=found)
    return loaded


def read_aliases(path: Path) -> Aliases:
    """The aliases in a file of settings. Raises ProblemsError with all that is wrong with the file."""
    loaded = Loaded()
    given = _read_config(path, loaded)
    others = {name.lower() for name in _KNOWN}
    settings, _ = _checked({name: node for name, node in given.items() if name not in others}, loaded, {})
    if loaded.problems:
        raise ProblemsError(*loaded.problems)
    return settings.aliases


def _place(given: Mapping[str, Node], name: str) -> Place | None:
    """Where a setting, or the file with it, is given."""
    found = given.get(name) or given.get(f"{name}_file")
    return None if found is None else found.at


def _checked(given: dict[str, Node], loaded: Loaded, seen: dict[object, Place]) -> tuple[Settings, dict[str, Node]]:
    """The settings, and the given values that are right. The others are added to the problems."""
    try:
        return Settings.model_validate(given, context=seen), given
    except ValidationError as error:
        loaded.problems += problems_of(error, given)
        wrong = {each["loc"][0] for each in error.errors()}
    right = {name: node for name, node in given.items() if name not in wrong}
    return Settings.model_validate(right, context={}), right


def _default_proxy(given: Mapping[str, Node], seen: dict[object, Place]) -> list[ProxySettings]:
    """The proxy of the environment; none without a key, or if a setting is wrong: its own check reports that."""
    key = _place(given, "cliproxy_management_key")
    if key is None:
        return []
    row = {name.removeprefix("cliproxy_"): node for name, node in given.items() if name.startswith("cliproxy_")}
    row.pop("localhost", None)
    row = {"name": Text("default").found(key), "url": Text(Settings().cliproxy_url).found(key), **row}
    with suppress(ValidationError):
        return [ProxySettings.model_validate(row, context=seen)]
    return []


def _reached(proxy: ProxySettings, localhost: str | None) -> ProxySettings:
    """The proxy at the URL by which it is reached: ``localhost``, if set, replaces this machine's own names."""
    url = urlsplit(proxy.url)
    if localhost is None or not is_loopback(url.hostname or ""):
        return proxy
    host = f"[{localhost}]" if ":" in localhost else localhost
    moved = url._replace(netloc=host if url.port is None else f"{host}:{url.port}")
    return proxy.model_copy(update={"url": urlunsplit(moved)})


def _check_pairs(given: Mapping[str, Node], right: Mapping[str, Node], loaded: Loaded) -> None:
    for name, needs in _NEEDS.items():
        lone = _place(right, name)
        if lone is None or _place(given, needs) is not None:
            continue
        why = f"It is set without {needs.upper()}."
        if name == "cliproxy_url" and given.get("proxies"):  # docker-compose.yml always sets it
            loaded.notes.append(lone.problem(f"{why} Only the proxies in the file are used."))
        else:
            loaded.problems.append(lone.problem(why, f"Set {needs.upper()} too."))


def _warn_of_open_port(settings: Settings, given: Mapping[str, Node], loaded: Loaded) -> None:
    is_guarded = settings.exporter_token is not None or settings.exporter_web_config is not None
    host = given.get("exporter_host")
    if host is not None and not is_guarded and not is_loopback(settings.exporter_host):
        why = f"Anyone who reaches port {settings.exporter_port} can read usage, costs and labels without a password."
        fix = "Set EXPORTER_TOKEN, or make sure that only trusted machines can reach it."
        loaded.warnings.append(host.at.problem(why, fix))


def _compare_zones(settings: Settings, given: Mapping[str, Node], loaded: Loaded) -> None:
    if settings.timezone is None or settings.timezone_offset_hours is None:
        return
    fixed = datetime.timedelta(hours=settings.timezone_offset_hours)
    # One year is enough: the question is whether daylight saving changes the offset in any month.
    if any(datetime.datetime(2026, month, 15, tzinfo=settings.zone).utcoffset() != fixed for month in range(1, 13)):
        why = f"It differs from TIMEZONE, {settings.timezone}, which is used."
        loaded.warnings.append(given["timezone_offset_hours"].at.problem(why, "Remove it."))


# --- where settings are written ---------------------------------------------------------------------------------------


def _read_environment(environ: Mapping[str, str], origin: str, cwd: Path, loaded: Loaded) -> dict[str, Node]:
    """The settings in ``environ``, without values that Kubernetes injects. A warning says where that matters."""
    values: list[Text] = []
    for name, text in environ.items():
        value = Text(text.strip()).found(Place(name, origin, cwd))
        if _INJECTED_VALUE.match(text) and name.endswith("_PORT"):
            if name in _KNOWN:
                service = name.removesuffix("_PORT").lower().replace("_", "-")
                why = f"Kubernetes injects this value because there is a Service named {service}; it is ignored."
                fix = "Set enableServiceLinks: false in the pod's spec, or rename the Service."
                loaded.warnings.append(value.at.problem(why, fix))
        elif not _INJECTED_NAME.fullmatch(name):
            values.append(value)
    return _settings_in(values, loaded)


def _read_dotenv(cwd: Path, loaded: Loaded) -> dict[str, Node]:
    """The settings in the file ``.env`` of the directory ``cwd``. Values are literal: ``${NAME}`` is not replaced."""
    path, text = cwd / _DOTENV, ""
    # A directory of that name is a Python environment, or what Docker makes of a mount without a source.
    if os.path.isfile(path):
        with loaded.collecting():
            text = read_text(path, Place(_DOTENV, str(path), cwd))
    values: dict[str, Text] = {}
    for binding in parse_stream(io.StringIO(text)):
        original = binding.original.string
        blank = original[: len(original) - len(original.lstrip())]
        place = Place(binding.key or _DOTENV, _DOTENV, cwd, binding.original.line + blank.count("\n"))
        if binding.error:
            why = "The line is not NAME=value and was skipped."
            fix = "Correct it; a value with quotes needs a closing quote."
            loaded.warnings.append(place.problem(why, fix))
        elif binding.key and binding.value is not None:
            values[binding.key] = Text(binding.value.strip()).found(place)
    return _settings_in(values.values(), loaded)


def _settings_in(values: Iterable[Text], loaded: Loaded) -> dict[str, Node]:
    """The values that are settings and not empty, by name in lower case."""
    found: dict[str, Node] = {}
    for given in values:
        name = given.at.name
        if name in _KNOWN:
            if given:
                found[name.lower()] = given
        elif name in _OF_PREDECESSOR or name.startswith("VITE_"):  # VITE_: of its front end
            loaded.notes.append(given.at.problem("It is a setting of the predecessor and is ignored."))
        elif _OURS.match(name) or nearest(name, _KNOWN, alike=_NEARLY_THE_SAME):
            fix = did_you_mean(name, _KNOWN) or "If it belongs to another program, ignore this."
            loaded.warnings.append(given.at.problem("It is not a setting of this version and is ignored.", fix))
    return found


def _read_config(path: Path, loaded: Loaded) -> dict[str, Node]:
    """What a YAML file has: settings in lower case, proxies and aliases. Raises ProblemsError if it cannot be read."""
    found: dict[str, Node] = {}
    for name, node in read_yaml(path, setting="EXPORTER_CONFIG").items():
        setting = _KNOWN.get(name.upper())
        if setting is not None and not setting.in_yaml:
            fix = f"Set {name.upper()} in the environment."
            loaded.problems.append(node.at.problem("It cannot be set in this file.", fix))
        elif name == "proxies" and node in ("", []):
            why, fix = say("{name} is empty.", name=name), say("Add an entry, or remove the line.")
            loaded.problems.append(node.at.problem(why, fix))
        elif node != "":
            found[name] = node
    return found
