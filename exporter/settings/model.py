"""The settings: each is declared once, here, with its type, default, help, and whether it is a secret.

The field's name is its name in the YAML file; in capitals it is its name in the environment. An object of these classes
is valid and never changes. Its text never shows a secret: keys, e-mail addresses and file names of accounts are
``SecretStr``, and errors do not repeat what was given.
"""

import datetime
import zoneinfo
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, SecretStr

from exporter.settings import validators
from exporter.settings.proxies import Aliases, ManagementKey, ProxySettings, Quotas, QuotasCheck, Secret, Source
from exporter.settings.yaml_rows import Row

DEFAULT_PROXY = "default"
"""The name of the proxy that ``CLIPROXY_URL`` and ``CLIPROXY_MANAGEMENT_KEY`` describe."""


@dataclass(frozen=True, kw_only=True)
class SettingMeta:
    """What the reference page says of a setting, and what the loader needs to know besides its type.

    ``section`` begins a part of the page, to which the settings after this one belong too. ``kind`` says in words what
    a value looks like, ``unset`` what holds without one, ``also`` is an older name of the same setting. A secret may
    also be given as ``<NAME>_FILE``, a list (``is_list``) also as a list in YAML.
    """

    help: str
    kind: str
    section: str = ""
    unset: str = ""
    also: str = ""
    secret: bool = False
    is_list: bool = False
    in_yaml: bool = True


class DefaultProxy(Row):
    """The proxy that is configured by two settings, as in the predecessor."""

    cliproxy_url: Annotated[
        str,
        BeforeValidator(validators.proxy_url),
        SettingMeta(
            section="Proxy",
            kind="URL",
            help="Base URL of the CLIProxyAPI server, without /v0/management. "
            "A container that docker-compose.yml did not start reaches this machine as host.docker.internal.",
        ),
    ] = "http://localhost:8317"
    cliproxy_management_key: Annotated[
        ManagementKey | None,
        SettingMeta(
            kind="text",
            secret=True,
            unset="no proxy named default",
            help="The proxy's management key in plain text "
            "(remote-management.secret-key or MANAGEMENT_PASSWORD of CLIProxyAPI).",
        ),
    ] = None
    cliproxy_localhost: Annotated[
        Annotated[str, BeforeValidator(validators.listen_host)] | None,
        SettingMeta(
            kind="host name",
            unset="localhost means localhost",
            help="What localhost stands for in URLs of proxies. docker-compose.yml sets it, because inside a container "
            "localhost is the container: so one .env serves both ways.",
            in_yaml=False,
        ),
    ] = None
    cliproxy_source: Annotated[
        Source,
        SettingMeta(
            kind="queue or subscribe",
            help="How the usage of this proxy is read. subscribe (CPA 7.0.7 or newer) is for several programs at once: "
            "each one that subscribes gets every record, and those that poll get none. docs/proxies.md says more.",
        ),
    ] = "queue"


class Settings(Row):
    """All settings of an exporter. Fields that are None were not set, and have no fixed default."""

    proxies: tuple[ProxySettings, ...] = ()
    aliases: Aliases = Aliases()

    collector_interval_seconds: Annotated[
        Annotated[int, BeforeValidator(validators.whole_number(1))] | None,
        SettingMeta(
            section="Polling",
            kind="seconds, 1 or more",
            unset="automatic",
            help="Upper bound of the time between two polls of a proxy; more than 15 changes nothing. "
            "The exporter polls more often where the proxy keeps its records for a shorter time.",
        ),
    ] = None
    false_start_cost_usd: Annotated[
        float,
        BeforeValidator(validators.amount),
        SettingMeta(
            kind="US dollars, 0 or more",
            help="Only for proxies that send no single requests (forks of CLIProxyAPI 6.9 or older): a series that"
            " appears at once with a value above this is a false start. It is listed, and not counted.",
        ),
    ] = 10.0
    timezone: Annotated[
        Annotated[str, BeforeValidator(validators.zone_name)] | None,
        SettingMeta(
            section="Time",
            kind="IANA time zone",
            unset="the machine's, else UTC",
            help="Time zone in which days, weeks and months begin, for example Europe/Berlin. "
            "Daylight saving is observed.",
        ),
    ] = None
    timezone_offset_hours: Annotated[
        Annotated[float, BeforeValidator(validators.offset_hours)] | None,
        SettingMeta(
            kind="hours, -12 to 14, in steps of 0.25",
            unset="not used",
            help="Fixed distance from UTC, without daylight saving, as the predecessor had it. "
            "Used only if TIMEZONE is not set.",
        ),
    ] = None
    exporter_host: Annotated[
        str,
        BeforeValidator(validators.listen_host),
        SettingMeta(
            section="Web",
            kind="IP address or host name",
            help="Address to listen on. The default is reachable from this machine only; "
            "0.0.0.0 is every interface (the container image sets that).",
        ),
    ] = "127.0.0.1"
    exporter_port: Annotated[
        int,
        BeforeValidator(validators.whole_number(0, 65535)),
        SettingMeta(
            kind="port number",
            also="COLLECTOR_TRIGGER_PORT",
            help="Port of the status page, /metrics and the API. 0 takes any free port.",
        ),
    ] = 9317
    exporter_token: Annotated[
        Secret | None,
        SettingMeta(
            kind="text",
            secret=True,
            unset="no token is asked for; only this machine may POST",
            help="Token that every request but the health checks must bring, "
            "as bearer token or as password of basic authentication.",
        ),
    ] = None
    exporter_allowed_hosts: Annotated[
        tuple[str, ...],
        BeforeValidator(validators.host_list),
        SettingMeta(
            kind="host names, separated by commas",
            is_list=True,
            unset="none",
            help="Further host names under which requests over loopback are accepted, for example the public name of "
            "a reverse proxy on this machine. Others are refused, so that a web page cannot reach the exporter "
            "through the browser.",
        ),
    ] = ()
    exporter_web_config: Annotated[
        Annotated[Path, BeforeValidator(validators.path)] | None,
        SettingMeta(
            kind="file",
            unset="HTTP, without users",
            help="YAML file with TLS and with users and their passwords, in the form of Prometheus' exporter-toolkit: "
            "docs/operations.md#access-from-elsewhere-and-tls.",
        ),
    ] = None
    exporter_language: Annotated[
        Literal["auto", "en", "zh"],
        BeforeValidator(validators.choice("auto", "en", "zh")),
        SettingMeta(
            kind="auto, en or zh",
            help="Language of the pages: English, Chinese (simplified), or with auto what the browser asks for. "
            "Logs, metrics, commands and the API speak English.",
        ),
    ] = "auto"
    exporter_data_dir: Annotated[
        Path,
        BeforeValidator(validators.path),
        SettingMeta(
            section="Storage",
            kind="directory",
            unset="a `data` with a ledger in the working directory, else `$XDG_DATA_HOME/cliproxy-exporter` "
            "(`~/.local/share/…`, on macOS `~/Library/Application Support/…`)",
            help="Where the ledger and the hash key are kept. Back it up; deleting it starts all totals at 0. "
            "Without it commands use that of the running exporter.",
        ),
    ] = Path()
    exporter_retention_days: Annotated[
        int,
        BeforeValidator(validators.whole_number(1, 36_500)),
        SettingMeta(
            kind="days, 1 to 36500",
            help="How long single usage records stay in the ledger. "
            "Totals, periods and quarters of an hour are kept for ever; rejected records stay 30 days.",
        ),
    ] = 90
    exporter_hash_key: Annotated[
        Annotated[SecretStr, BeforeValidator(validators.hash_key)] | None,
        SettingMeta(
            kind="text of 16 characters or more",
            secret=True,
            unset="hash.key in the data directory, made at the first start",
            help="Key of the hashes by which clients and credentials are known. "
            "Exporters with the same key use the same labels; another key renames everything that has no alias.",
        ),
    ] = None
    exporter_prices_file: Annotated[
        Annotated[Path, BeforeValidator(validators.path)] | None,
        SettingMeta(
            section="Prices",
            kind="file",
            unset="no file",
            help="YAML file with your own prices. They go before all others; docs/prices.md shows the format. "
            "An edit takes effect within seconds; one with a mistake is not used.",
        ),
    ] = None
    exporter_prices_refresh: Annotated[
        bool,
        BeforeValidator(validators.switch),
        SettingMeta(
            kind="true or false",
            help="Whether a list of prices is fetched once a day. It prices models that came out after this version, "
            "and no others. Nothing but the request for the list is sent.",
        ),
    ] = True
    exporter_prices_url: Annotated[
        str,
        BeforeValidator(validators.list_url),
        SettingMeta(kind="URL", help="Where that list is fetched; a mirror has to have the same form."),
    ] = "https://www.llm-prices.com/current-v1.json"
    exporter_limits_file: Annotated[
        Annotated[Path, BeforeValidator(validators.path)] | None,
        SettingMeta(
            section="Limits",
            kind="file",
            unset="no limits of your own; the providers' windows are shown all the same",
            help="YAML file with your limits (budgets of tokens, requests or dollars) and prices of your plans. "
            "docs/limits.md shows the format. An edit takes effect within seconds; one with a mistake is not used.",
        ),
    ] = None
    exporter_notify_urls: Annotated[
        Secret | None,
        SettingMeta(
            kind="URLs of Apprise, separated by spaces or line breaks",
            secret=True,
            unset="no messages but those of Alertmanager",
            help="Where the exporter itself sends its warnings about limits: "
            "docs/alerting.md#without-prometheus. With Alertmanager, leave it out.",
        ),
    ] = None
    exporter_quotas: Annotated[
        Quotas,
        QuotasCheck,
        SettingMeta(
            kind="passive or active",
            help="How the windows that providers themselves report are known. passive: from their answers to your "
            "requests, which tell of Claude and Codex. active: idle accounts are also asked, seldom, through the "
            "proxy; docs/limits.md says how.",
        ),
    ] = "passive"
    exporter_max_label_sets: Annotated[
        int,
        BeforeValidator(validators.whole_number(1)),
        SettingMeta(
            section="Metrics",
            kind="number, 1 or more",
            help="How many combinations of labels are exported at most. "
            "What comes later is counted under the label value other.",
        ),
    ] = 5000
    exporter_series_birth_seconds: Annotated[
        int,
        BeforeValidator(validators.whole_number(0)),
        SettingMeta(
            kind="seconds, 0 or more",
            help="How long a new series is shown to Prometheus as 0 at least before its value appears, "
            "so that increase() sees the first request. "
            "It lasts longer while a server that scraped in the last ten minutes has not seen the 0.",
        ),
    ] = 60
    supabase_url: Annotated[
        Annotated[str, BeforeValidator(validators.supabase_url)] | None,
        SettingMeta(
            section="History",
            kind="URL",
            unset="no history outside the data directory",
            help="URL of the Supabase project to which the history is written. Needs SUPABASE_SECRET_KEY; "
            "docs/supabase.md tells how to set a project up.",
        ),
    ] = None
    supabase_secret_key: Annotated[
        Annotated[SecretStr, BeforeValidator(validators.supabase_key)] | None,
        SettingMeta(
            kind="text",
            secret=True,
            unset="no history outside the data directory",
            help="Secret key (sb_secret_...) or service role key of the Supabase project; not the publishable one.",
        ),
    ] = None
    exporter_history_days: Annotated[
        int,
        BeforeValidator(validators.whole_number(1, 36_500)),
        SettingMeta(
            kind="days, 1 to 36500",
            help="How long single usage records stay in Supabase. "
            "Days, quarters of an hour and totals are kept for ever there.",
        ),
    ] = 365
    exporter_config: Annotated[
        Annotated[Path, BeforeValidator(validators.path)] | None,
        SettingMeta(
            section="Files",
            kind="file",
            unset="no file",
            in_yaml=False,
            help="YAML file with any of these settings in lower case, several proxies, and aliases. "
            "An edit of the aliases takes effect within seconds.",
        ),
    ] = None
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"],
        BeforeValidator(
            validators.choice("debug", "info", "warning", "error", synonyms={"warn": "warning", "critical": "error"}),
        ),
        SettingMeta(
            section="Log", kind="debug, info, warning or error", help="The least important events that are logged."
        ),
    ] = "info"
    log_format: Annotated[
        Literal["logfmt", "json"],
        BeforeValidator(validators.choice("logfmt", "json")),
        SettingMeta(kind="logfmt or json", help="One event is one line, in this format, on standard error."),
    ] = "logfmt"

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
        """The proxies whose accounts' providers are asked for their windows."""
        return [proxy for proxy in self.proxies if (proxy.quotas or self.exporter_quotas) == "active"]

    def secret_values(self) -> list[str]:
        """Every secret in these settings, for `exporter.logs.add_secrets`. Handle with care."""
        secrets = [self.exporter_token, self.exporter_hash_key, self.supabase_secret_key, self.exporter_notify_urls]
        secrets += [proxy.management_key for proxy in self.proxies]
        given = [value.get_secret_value() for value in secrets if value is not None]
        return [*given, *self.notify_urls, *self.aliases.secret_values()]

    @property
    def notify_urls(self) -> list[str]:
        """Where notices go. Handle with care: the URLs hold tokens."""
        return [] if self.exporter_notify_urls is None else self.exporter_notify_urls.get_secret_value().split()
