"""Load the settings: environment over ``.env`` over the YAML file over defaults.

Everything is read and checked before anything is reported, so that all problems are seen at once, each with its place
and what to do. Only the named files are opened, and nothing is written.
"""

import datetime
import zoneinfo
from collections import ChainMap
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from pydantic import ValidationError

from exporter.settings import validators
from exporter.settings.model import Declared, Settings, declared
from exporter.settings.problems import Problem
from exporter.settings.proxies import ConfigFile, PlacedProxy, ProxySettings
from exporter.settings.sources import Loaded, read_config, read_dotenv, read_environment
from exporter.settings.validators import RawValue, secret_in_file
from exporter.settings.yaml_rows import why_and_fix

DEFAULT_PROXY = "default"
"""The name of the proxy that ``CLIPROXY_URL`` and ``CLIPROXY_MANAGEMENT_KEY`` describe."""

_NEEDS = {
    "cliproxy_url": "cliproxy_management_key",
    "supabase_url": "supabase_secret_key",
    "supabase_secret_key": "supabase_url",
}
"""Settings that are useless without another one."""


FileReader = Callable[[Path], object]
"""Reads a file whose path is a setting. Raises ProblemsError."""


def no_proxy_sentence() -> str:
    """The message for a configuration without a proxy."""
    return (
        "No proxy is configured. Set CLIPROXY_MANAGEMENT_KEY (and CLIPROXY_URL, if CLIProxyAPI is not on "
        "http://localhost:8317), or list proxies in the file that EXPORTER_CONFIG names. "
        "To look around without a proxy, run: cliproxy-exporter demo."
    )


def load_settings(
    environ: Mapping[str, str],
    *,
    cwd: Path,
    data_dir: Path | None = None,
    machine_zone: str | None = None,
    file_readers: Mapping[str, FileReader] | None = None,
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
    flagged = {
        name: RawValue(name=name, text=text, place="command line", base=cwd) for name, text in (flags or {}).items()
    }
    layers = ChainMap(flagged, read_environment(environ, loaded, cwd=cwd), read_dotenv(cwd, loaded))
    config = layers.get("EXPORTER_CONFIG")
    yaml = ConfigFile(path=cwd)
    if config is not None and not config.text.startswith("~"):  # a path with ~ is reported below
        yaml = read_config(config.base / config.text, loaded)
        layers.maps.append(yaml.given)
    given: dict[str, RawValue] = {}
    for setting in declared():
        ignored = for_demo and setting.env_name.startswith(("CLIPROXY_", "SUPABASE_"))
        value = None if ignored else _resolve(setting, layers, loaded)
        loaded.sources[setting.env_name] = value.place if value else "default"
        if value is not None:
            given[setting.yaml_name] = value
    zone_is_set = "timezone" in given or "timezone_offset_hours" in given
    defaults = {
        "exporter_data_dir": data_dir or cwd / "data",
        "timezone": None if zone_is_set else machine_zone,
        "aliases": yaml.aliases,
    }
    settings = _checked(defaults, given, loaded)
    proxies = _proxies(settings, given, () if for_demo else yaml.proxies, loaded)
    _check_pairs(given, layers, loaded, lists_proxies=bool(yaml.proxies))
    if not any(map(loaded.blames, given.values())):
        _compare_zones(settings, given, loaded)
        _warn_of_open_door(settings, given.get("exporter_host"), loaded)
    for name, reader in (file_readers or {}).items():
        file = given.get(name)
        if file is not None and not loaded.blames(file):
            with loaded.collecting():
                reader(file.base / file.text)
    if not loaded.problems:
        loaded.settings = settings.model_copy(update={"proxies": proxies})
    return loaded


def _resolve(setting: Declared, layers: Mapping[str, RawValue], loaded: Loaded) -> RawValue | None:
    value, older = layers.get(setting.env_name), layers.get(setting.also)
    if value is not None and older is not None and value.text != older.text:
        why = f"It is the older name of {value.name} ({value.place}), which has another value."
        loaded.problems.append(older.problem(why, "Set only one of the two."))
    value, file = value or older, layers.get(setting.file_name)
    if file is not None:
        plain, value = value, None
        with loaded.collecting():
            value = secret_in_file(file, plain=plain)
    return value


def _checked(defaults: Mapping[str, object], given: Mapping[str, RawValue], loaded: Loaded) -> Settings:
    """The settings without the proxies, as far as they are right: what else is wrong is told at once."""
    try:
        return Settings.model_validate(
            {**defaults, **{name: value.text for name, value in given.items()}}, context=given
        )
    except ValidationError as error:
        wrong = {str(each["loc"][0]): each for each in error.errors(include_url=False)}
        for name, each in wrong.items():
            loaded.problems.append(given[name].problem(*why_and_fix(each, field=Settings.model_fields[name].metadata)))
        return _checked(defaults, {name: value for name, value in given.items() if name not in wrong}, loaded)


def _proxies(
    settings: Settings, given: Mapping[str, RawValue], listed: Iterable[PlacedProxy], loaded: Loaded
) -> tuple[ProxySettings, ...]:
    found = list(listed)
    url = given.get("cliproxy_url")
    if settings.cliproxy_management_key is not None and not (url and loaded.blames(url)):
        default = ProxySettings(
            name=DEFAULT_PROXY,
            url=settings.cliproxy_url,
            management_key=settings.cliproxy_management_key,
            source=settings.cliproxy_source,
        )
        found.insert(0, (default, given["cliproxy_management_key"].place))
    seen: dict[object, str] = {}
    for proxy, place in found:
        if (first := seen.setdefault(proxy.name, place)) is not place:
            why = f"The name {proxy.name} is already used by another proxy ({first})."
            fix = "Give each proxy its own name; default is the one of CLIPROXY_MANAGEMENT_KEY."
            loaded.problems.append(Problem(setting="proxies", place=place, why=why, fix=fix))
        if (first := seen.setdefault(validators.same_server(proxy.url), place)) is not place:
            why = f"It has the URL of another proxy ({first}); a queue can have only one reader."
            fix = "Configure each server once."
            loaded.problems.append(Problem(setting="proxies", place=place, why=why, fix=fix))
    localhost = settings.cliproxy_localhost
    return tuple(proxy if localhost is None else _elsewhere(proxy, localhost) for proxy, _ in found)


def _elsewhere(proxy: ProxySettings, localhost: str) -> ProxySettings:
    """The proxy, with ``localhost`` for the name of this machine."""
    url = urlsplit(proxy.url)
    if not validators.is_loopback(url.hostname or ""):
        return proxy
    host = f"[{localhost}]" if ":" in localhost else localhost
    moved = url._replace(netloc=host if url.port is None else f"{host}:{url.port}")
    return proxy.model_copy(update={"url": urlunsplit(moved)})


def _check_pairs(
    given: Mapping[str, RawValue], layers: Mapping[str, RawValue], loaded: Loaded, *, lists_proxies: bool
) -> None:
    for name, needs in _NEEDS.items():
        lone = given.get(name)
        if lone is None or needs in given or f"{needs}_file".upper() in layers or loaded.blames(lone):
            continue
        why = f"It is set without {needs.upper()}."
        if name == "cliproxy_url" and lists_proxies:  # docker-compose.yml always sets it
            loaded.notes.append(lone.problem(f"{why} Only the proxies in the file are used."))
        else:
            loaded.problems.append(lone.problem(why, f"Set {needs.upper()} too."))


def _warn_of_open_door(settings: Settings, host: RawValue | None, loaded: Loaded) -> None:
    is_guarded = settings.exporter_token is not None or settings.exporter_web_config is not None
    if host is not None and not is_guarded and not validators.is_loopback(settings.exporter_host):
        why = f"Anyone who reaches port {settings.exporter_port} can read usage, costs and labels without a password."
        fix = "Set EXPORTER_TOKEN, or make sure that only trusted machines can reach it."
        loaded.warnings.append(host.problem(why, fix))


def _compare_zones(settings: Settings, given: Mapping[str, RawValue], loaded: Loaded) -> None:
    if settings.timezone is None or settings.timezone_offset_hours is None:
        return
    zone = zoneinfo.ZoneInfo(settings.timezone)
    fixed = datetime.timedelta(hours=settings.timezone_offset_hours)
    # One year is enough: the question is whether daylight saving changes the offset in any month.
    if any(datetime.datetime(2026, month, 15, tzinfo=zone).utcoffset() != fixed for month in range(1, 13)):
        why = f"It differs from TIMEZONE, {settings.timezone}, which is used."
        loaded.warnings.append(given["timezone_offset_hours"].problem(why, "Remove it."))
