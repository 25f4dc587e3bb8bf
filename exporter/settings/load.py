"""Load the settings: environment over ``.env`` over the YAML file over defaults.

Everything is read and checked before anything is reported, so that all problems are seen at once, each with its place
and what to do. Only the named files are opened, and nothing is written.
"""

import datetime
import zoneinfo
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from exporter.settings import validators
from exporter.settings.introspection import Declared, declared
from exporter.settings.model import DEFAULT_PROXY, DefaultProxy, Settings
from exporter.settings.problems import Problem, ProblemsError
from exporter.settings.proxies import ProxySettings
from exporter.settings.sources import Findings, RawValue, checked, one_secret, read_dotenv, read_environment
from exporter.settings.yaml_settings import PlacedProxy, YamlSettings, read_settings


@dataclass(kw_only=True)
class Loaded(Findings):
    """The outcome of loading.

    ``settings`` is None if there are problems. ``sources`` says where each setting's value came from, by its name in
    the environment.
    """

    settings: Settings | None = None
    sources: dict[str, str] = field(default_factory=dict)

    def require(self) -> Settings:
        """The settings. Raises ProblemsError if there are any problems."""
        if self.settings is None:
            raise ProblemsError(*self.problems)
        return self.settings


FileReader = Callable[[Path, datetime.tzinfo], object]
"""Reads a file whose path is a setting, with the zone of its days. Raises ProblemsError."""


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
    layers = [flagged, read_environment(environ, loaded, cwd=cwd), read_dotenv(cwd, loaded)]
    yaml = _read_config(layers)
    loaded.problems += yaml.problems
    layers.append(yaml.given)
    if for_demo:
        layers = [{name: given for name, given in layer.items() if not _is_of_the_user(name)} for layer in layers]
        yaml = replace(yaml, proxies=[])
    _Loader(layers, cwd, loaded, data_dir or cwd / "data", machine_zone).load(yaml, file_readers or {})
    return loaded


def _is_of_the_user(name: str) -> bool:
    return any(
        name in setting.names for setting in declared() if setting.env_name.startswith(("CLIPROXY_", "SUPABASE_"))
    )


def _read_config(layers: list[dict[str, RawValue]]) -> YamlSettings:
    named = _first(layers, "EXPORTER_CONFIG")
    if named is None or named.text.startswith("~"):  # the latter is reported when the setting itself is checked
        return YamlSettings()
    return read_settings(named.base / named.text)


def _first(layers: list[dict[str, RawValue]], name: str) -> RawValue | None:
    return next((layer[name] for layer in layers if name in layer), None)


def _elsewhere(proxy: ProxySettings, localhost: str) -> ProxySettings:
    """The proxy, with ``localhost`` for the name of this machine."""
    url = urlsplit(proxy.url)
    if not localhost or not validators.is_loopback(url.hostname or ""):
        return proxy
    moved = url._replace(netloc=localhost if url.port is None else f"{localhost}:{url.port}")
    return proxy.model_copy(update={"url": urlunsplit(moved)})


@dataclass(frozen=True)
class _Loader:
    """Resolves each setting from its sources (first one wins) and collects what is wrong."""

    layers: list[dict[str, RawValue]]
    cwd: Path
    loaded: Loaded
    data_dir: Path
    machine_zone: str | None

    def load(self, yaml: YamlSettings, file_readers: Mapping[str, FileReader]) -> None:
        given: dict[str, RawValue] = {}
        for setting in declared():
            value = self._resolve(setting)
            self.loaded.sources[setting.env_name] = value.place if value else "default"
            if value is not None:
                given[setting.yaml_name] = value
        proxies = self._proxies(given, yaml.proxies)
        settings = checked(Settings, given, proxies=proxies, aliases=yaml.aliases)
        zone: datetime.tzinfo = datetime.UTC
        if isinstance(settings, list):
            self.loaded.problems.extend(settings)
        else:
            if settings.timezone is None and settings.timezone_offset_hours is None:
                settings = settings.model_copy(update={"timezone": self.machine_zone})
            zone = settings.zone
            self._compare_zones(settings)
            self._warn_of_open_door(settings, given.get("exporter_host"))
        self._check_supabase(given)
        for name, reader in file_readers.items():
            self._check_file(given.get(name), reader, zone)
        if isinstance(settings, Settings) and not self.loaded.problems:
            self.loaded.settings = self._with_whole_paths(settings, given)

    def _first(self, name: str) -> RawValue | None:
        return _first(self.layers, name)

    def _resolve(self, setting: Declared) -> RawValue | None:
        value = self._first(setting.env_name)
        older = self._first(setting.also)
        if value is not None and older is not None and value.text != older.text:
            why = f"It is the older name of {value.name} ({value.place}), which has another value."
            self.loaded.problems.append(older.problem(why, "Set only one of the two."))
        try:
            return one_secret(value or older, self._first(setting.file_name))
        except ProblemsError as error:
            self.loaded.problems.extend(error.problems)
            return None

    def _proxies(self, given: dict[str, RawValue], listed: list[PlacedProxy]) -> tuple[ProxySettings, ...]:
        found = [*self._default_proxy(given, others=bool(listed)), *listed]
        names: dict[str, str] = {}
        servers: dict[tuple[str, str, int, str], str] = {}
        for proxy, place in found:
            first = names.setdefault(proxy.name, place)
            if first is not place:
                why = f"The name {proxy.name} is already used by another proxy ({first})."
                fix = "Give each proxy its own name; default is the one of CLIPROXY_MANAGEMENT_KEY."
                self.loaded.problems.append(Problem(setting="proxies", place=place, why=why, fix=fix))
            first = servers.setdefault(validators.same_server(proxy.url), place)
            if first is not place:
                why = f"It has the URL of another proxy ({first}); a queue can have only one reader."
                fix = "Configure each server once."
                self.loaded.problems.append(Problem(setting="proxies", place=place, why=why, fix=fix))
        localhost = given.get("cliproxy_localhost")
        return tuple(_elsewhere(proxy, localhost.text if localhost else "") for proxy, _ in found)

    def _default_proxy(self, given: dict[str, RawValue], *, others: bool) -> list[PlacedProxy]:
        url, key = given.get("cliproxy_url"), given.get("cliproxy_management_key")
        proxy = checked(DefaultProxy, given)
        if isinstance(proxy, list):
            self.loaded.problems.extend(proxy)
            return []
        if key is None or proxy.cliproxy_management_key is None:
            if url is not None and self._first("CLIPROXY_MANAGEMENT_KEY_FILE") is None:
                why = "It is set without CLIPROXY_MANAGEMENT_KEY."
                if others:  # docker-compose.yml always sets it, even if the proxies are listed in a file
                    self.loaded.notes.append(url.problem(f"{why} Only the proxies in the file are used."))
                else:
                    self.loaded.problems.append(url.problem(why, "Set CLIPROXY_MANAGEMENT_KEY too."))
            return []
        settings = ProxySettings(
            name=DEFAULT_PROXY,
            url=proxy.cliproxy_url,
            management_key=proxy.cliproxy_management_key,
            source=proxy.cliproxy_source,
        )
        return [(settings, key.place)]

    def _check_supabase(self, given: dict[str, RawValue]) -> None:
        url, key = given.get("supabase_url"), given.get("supabase_secret_key")
        file = self._first("SUPABASE_SECRET_KEY_FILE")
        lone, lacks = (key, "SUPABASE_URL") if url is None else (None if key or file else url, "SUPABASE_SECRET_KEY")
        if lone is not None:
            self.loaded.problems.append(lone.problem(f"It is set without {lacks}.", "Set both or none of them."))

    def _check_file(self, given: RawValue | None, reader: FileReader, zone: datetime.tzinfo) -> None:
        """Check a file even beside other problems, so that all are seen at once. A bad path is already reported."""
        path = given.text.strip() if given is not None else ""
        if given is not None and path.isprintable() and not path.startswith("~"):
            try:
                reader(given.base / path, zone)
            except ProblemsError as error:
                self.loaded.problems.extend(error.problems)

    def _warn_of_open_door(self, settings: Settings, host: RawValue | None) -> None:
        is_guarded = settings.exporter_token is not None or settings.exporter_web_config is not None
        if host is not None and not is_guarded and not validators.is_loopback(settings.exporter_host):
            why = (
                f"Anyone who reaches port {settings.exporter_port} can read usage, costs and labels without a password."
            )
            fix = "Set EXPORTER_TOKEN, or make sure that only trusted machines can reach it."
            self.loaded.warnings.append(host.problem(why, fix))

    def _compare_zones(self, settings: Settings) -> None:
        offset = self._first("TIMEZONE_OFFSET_HOURS")
        if offset is None or settings.timezone is None or settings.timezone_offset_hours is None:
            return
        zone = zoneinfo.ZoneInfo(settings.timezone)
        fixed = datetime.timedelta(hours=settings.timezone_offset_hours)
        # One year is enough: the question is whether daylight saving changes the offset in any month.
        if any(datetime.datetime(2026, month, 15, tzinfo=zone).utcoffset() != fixed for month in range(1, 13)):
            self.loaded.warnings.append(
                offset.problem(f"It differs from TIMEZONE, {settings.timezone}, which is used.", "Remove it."),
            )

    def _with_whole_paths(self, settings: Settings, given: dict[str, RawValue]) -> Settings:
        whole = {
            name: (given[name].base if name in given else self.cwd) / value
            for name, value in settings
            if isinstance(value, Path)
        }
        if "exporter_data_dir" not in given:
            whole["exporter_data_dir"] = self.data_dir
        return settings.model_copy(update=whole)
