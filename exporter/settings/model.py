"""The settings: each is declared once, here, with its type, default and meaning.

Its meaning is the text below it, which ``make docs`` puts on the reference page. The field's name is its name in the
YAML file; in capitals it is its name in the environment. An object of these classes is valid and never changes. Its
text never shows a secret: keys, e-mail addresses and file names of accounts are ``SecretStr``, and errors do not repeat
values.
"""

import datetime
import zoneinfo
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, cast

from pydantic import Field

from exporter.settings import kinds
from exporter.settings.kinds import IN_LOWER_CASE, or_file
from exporter.settings.proxies import Aliases, ProxySettings, SettingsRow
from exporter.settings.yaml_rows import names_of_field

_MOST = 999_999_999
"""The upper bound of numbers that need no other, so that calculations with them do not overflow."""


def setting(default: object = None, *, ge: float | None = None, le: float | None = None, **said: Any) -> Any:
    """A field with its ``names``; ``said`` is the rest of its ``Declared``. A number may be from ``ge`` to ``le``."""
    return Field(default, validation_alias=said.pop("names", None), ge=ge, le=le, json_schema_extra=said)


class Settings(SettingsRow):
    """All settings of an exporter. Fields that are None were not set, and have no fixed default."""

    proxies: tuple[ProxySettings, ...] = ()
    aliases: Aliases = Aliases()

    cliproxy_url: kinds.ProxyUrl = setting("http://localhost:8317", section="Proxy", kind="URL")
    """Base URL of the CLIProxyAPI server, without /v0/management or /v1. A container that docker-compose.yml did not
    start reaches this machine as host.docker.internal.
    """
    cliproxy_management_key: kinds.ManagementKey | None = setting(
        names=or_file("cliproxy_management_key"), kind="text", unset="no proxy named default"
    )
    """The proxy's management key in plain text (remote-management.secret-key or MANAGEMENT_PASSWORD of CLIProxyAPI)."""
    cliproxy_localhost: kinds.Host | None = setting(kind="host name", unset="localhost means localhost", in_yaml=False)
    """The host that localhost means in URLs of proxies. docker-compose.yml sets it, because inside a container
    localhost is the container itself; so the same .env works with and without containers.
    """
    cliproxy_source: kinds.Source = setting("queue", kind="queue or subscribe")
    """How the usage of this proxy is read. subscribe (CPA 7.0.7 or newer) is for several programs at once: each program
    that subscribes gets every record, and those that poll get none. docs/proxies.md says more.
    """
    collector_interval_seconds: int | None = setting(
        ge=1, section="Polling", kind="seconds, 1 or more", unset="automatic"
    )
    """Upper bound of the time between two polls of a proxy; more than 15 changes nothing. The exporter polls more often
    where the proxy keeps its records for a shorter time.
    """
    false_start_cost_usd: float = setting(10.0, ge=0.0, le=_MOST, kind="US dollars, 0 or more")
    """Only for proxies that send no single requests (forks of CLIProxyAPI 6.9 or older): a series that suddenly appears
    with a value above this is a false start. It is listed, but not counted.
    """
    timezone: kinds.ZoneName | None = setting(section="Time", kind="IANA time zone", unset="the machine's, else UTC")
    """Time zone in which days, weeks and months begin, for example Europe/Berlin. Daylight saving is observed."""
    timezone_offset_hours: Annotated[float, Field(multiple_of=0.25)] | None = setting(
        ge=-12, le=14, kind="hours, -12 to 14, in steps of 0.25", unset="not used"
    )
    """Fixed offset from UTC, without daylight saving, as in the predecessor. Used only if TIMEZONE is not set."""
    exporter_host: kinds.Host = setting("127.0.0.1", section="Web", kind="IP address or host name")
    """Address to listen on. The default is reachable from this machine only; 0.0.0.0 is every interface (the container
    image sets that).
    """
    exporter_port: int = setting(9317, ge=0, le=65535, kind="port number", also="COLLECTOR_TRIGGER_PORT")
    """Port of the status page, /metrics and the API. 0 takes any free port."""
    exporter_token: kinds.Secret | None = setting(
        names=or_file("exporter_token"), kind="text", unset="no token is asked for; only this machine may POST"
    )
    """Token that every request except the health checks must carry, as a bearer token or as the password of basic
    authentication.
    """
    exporter_allowed_hosts: kinds.HostList = setting((), kind="host names, separated by commas", unset="none")
    """Further host names under which requests over loopback are accepted, for example the public name of a reverse
    proxy on this machine. Others are refused, so that a web page cannot reach the exporter through the browser.
    """
    exporter_web_config: kinds.File | None = setting(kind="file", unset="HTTP, without users")
    """YAML file with TLS and with users and their passwords, in the format of Prometheus' exporter-toolkit:
    docs/operations.md#access-from-elsewhere-and-tls.
    """
    exporter_language: Annotated[Literal["auto", "en", "zh"], IN_LOWER_CASE] = setting("auto", kind="auto, en or zh")
    """Language of the pages: English, Chinese (simplified), or with auto what the browser asks for. Logs, metrics,
    commands and the API are always in English.
    """
    exporter_data_dir: kinds.File = setting(
        Path(),
        section="Storage",
        kind="directory",
        unset="a `data` with a ledger in the working directory, else `$XDG_DATA_HOME/cliproxy-exporter` "
        "(`~/.local/share/…`, on macOS `~/Library/Application Support/…`)",
    )
    """Where the ledger and the hash key are kept. Back it up; deleting it starts all totals at 0. If it is not set,
    commands use the directory of the running exporter.
    """
    exporter_retention_days: int = setting(90, ge=1, le=36_500, kind="days, 1 to 36500")
    """How long single usage records stay in the ledger; at least a day longer than the longest window of your limits.
    Totals, and sums by quarter of an hour, stay for ever; rejected records stay 30 days.
    """
    exporter_hash_key: kinds.HashKey | None = setting(
        names=or_file("exporter_hash_key"),
        kind="text of 16 characters or more",
        unset="hash.key in the data directory, made at the first start",
    )
    """Key of the hashes by which clients and credentials are known. Exporters with the same key use the same labels;
    another key renames everything that has no alias.
    """
    exporter_prices_file: kinds.File | None = setting(section="Prices", kind="file", unset="no file")
    """YAML file with your own prices. They come before all others; docs/prices.md shows the format. An edit takes
    effect within seconds; one with a mistake is not used.
    """
    exporter_prices_refresh: bool = setting(True, kind="true or false")
    """Whether to fetch a list of prices once a day. It prices only models that came out after this version. The request
    tells nothing about you or your use.
    """
    exporter_prices_url: kinds.ListUrl = setting("https://www.llm-prices.com/current-v1.json", kind="URL")
    """The address of that list. A mirror must have the same format."""
    exporter_limits_file: kinds.File | None = setting(
        section="Limits", kind="file", unset="no limits of your own; the providers' windows are shown all the same"
    )
    """YAML file with your limits (budgets of tokens, requests or dollars) and prices of your plans. docs/limits.md
    shows the format. An edit takes effect within seconds; one with a mistake is not used.
    """
    exporter_notify_urls: kinds.SecretText | None = setting(
        names=or_file("exporter_notify_urls"),
        kind="URLs of Apprise, separated by spaces or line breaks",
        unset="no messages but those of Alertmanager",
    )
    """Where the exporter itself sends its warnings about limits: docs/alerting.md#without-prometheus. With
    Alertmanager, leave it out.
    """
    exporter_quotas: kinds.Quotas = setting("passive", kind="passive or active")
    """How the exporter learns of the windows that providers report. passive: from their answers to your requests, as
    Claude, Codex and Meta send them. active: it also asks about idle accounts and those at other providers,
    rarely and through the proxy; docs/accounts.md says how.
    """
    exporter_max_label_sets: int = setting(5000, ge=1, section="Metrics", kind="number, 1 or more")
    """The most combinations of labels that are exported. Later ones are counted under the label value other."""
    exporter_series_birth_seconds: int = setting(60, ge=0, le=_MOST, kind="seconds, 0 or more")
    """The least time for which Prometheus sees a new series as 0 before its value appears, so that increase() counts
    its first requests. It lasts longer while a server that scraped in the last ten minutes has not seen the 0.
    """
    supabase_url: kinds.SupabaseUrl | None = setting(
        section="History", kind="URL", unset="no history outside the data directory"
    )
    """URL of the Supabase project to which the history is written. Needs SUPABASE_SECRET_KEY; docs/supabase.md explains
    how to set up a project.
    """
    supabase_secret_key: kinds.SupabaseKey | None = setting(
        names=or_file("supabase_secret_key"), kind="text", unset="no history outside the data directory"
    )
    """Secret key (sb_secret_...) or service role key of the Supabase project; not the publishable one."""
    exporter_history_days: int = setting(365, ge=1, le=36_500, kind="days, 1 to 36500")
    """How long single usage records stay in Supabase. Sums by day and by quarter of an hour, and totals, stay there for
    ever.
    """
    exporter_config: kinds.File | None = setting(section="Files", kind="file", unset="no file", in_yaml=False)
    """YAML file with any of these settings in lower case, several proxies, and aliases. An edit of the aliases takes
    effect within seconds.
    """
    log_level: kinds.LogLevel = setting("info", section="Log", kind="debug, info, warning or error")
    """The least important events that are logged."""
    log_format: Annotated[Literal["logfmt", "json"], IN_LOWER_CASE] = setting("logfmt", kind="logfmt or json")
    """One event is one line, in this format, on standard error."""

    @property
    def zone(self) -> datetime.tzinfo:
        """The time zone of days, weeks and months: ``TIMEZONE`` or the machine's, else the fixed offset, else UTC."""
        if self.timezone is not None:
            return zoneinfo.ZoneInfo(self.timezone)
        if self.timezone_offset_hours is not None:
            return datetime.timezone(datetime.timedelta(hours=self.timezone_offset_hours))
        return datetime.UTC

    @property
    def asked_proxies(self) -> list[ProxySettings]:
        """The proxies whose accounts are asked about: see EXPORTER_QUOTAS."""
        return [proxy for proxy in self.proxies if (proxy.quotas or self.exporter_quotas) == "active"]

    def secret_values(self) -> list[str]:
        return [*dict.fromkeys([*super().secret_values(), *self.notify_urls])]  # a key may occur twice

    @property
    def notify_urls(self) -> list[str]:
        """Where notices go. Handle with care: the URLs hold tokens."""
        return [] if self.exporter_notify_urls is None else self.exporter_notify_urls.get_secret_value().split()


@dataclass(frozen=True, kw_only=True)
class Declared:
    """One setting. ``default`` is a text, empty if it has none.

    ``names`` are its names in the environment. A secret has ``<NAME>_FILE`` too, and ``also`` is an older name.
    ``section`` is its part of the reference page; the settings below the first of a section belong to it too. ``kind``
    says in words what a value looks like, ``unset`` what applies without one.
    """

    names: tuple[str, ...]
    default: str
    section: str
    kind: str
    unset: str = ""
    also: str = ""
    secret: bool = False
    in_yaml: bool = True


def declared() -> Iterator[Declared]:
    """All settings that have a name in the environment, in the order of the reference page."""
    section = ""
    for name, field in Settings.model_fields.items():
        if field.json_schema_extra is None:
            continue  # proxies and aliases, which only YAML can hold
        said = {"section": section, **cast("dict[str, Any]", field.json_schema_extra)}
        section = said["section"]
        default = "" if field.default in (None, (), Path()) else str(field.default)
        if isinstance(field.default, bool):
            default = default.lower()
        names = tuple(each.upper() for each in (*names_of_field(name, field), said.get("also")) if each)
        yield Declared(**said, names=names, default=default, secret=field.validation_alias is not None)
