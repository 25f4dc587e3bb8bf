"""The reference page and ``.env.example``, written from the declarations so that they cannot differ from them."""

import textwrap
from itertools import groupby

from exporter.settings.declared import Declared, declared
from exporter.settings.model import SettingMeta

_INTRODUCTION = """\
# Settings

This page is generated from the program; change the declarations, not the page.

A setting is looked for in the flags `--web.listen-address`, `--web.config.file`, `--config.file`, `--data-dir` and
`--log.level`, then in the environment, then in the file `.env` of the working directory, then in the YAML file that
`EXPORTER_CONFIG` names; the first one found is used, else the default. An empty value counts as not set.

- In YAML the names are in lower case, for example `exporter_port: 9400`. Unknown names are refused; in the environment
  they are warned about when they look like one of these.
- A secret can be read from a file: `EXPORTER_TOKEN_FILE=/run/secrets/token`. Line breaks at the end are removed.
  Set either the name or the name with `_FILE`, not both.
- Relative paths are below the working directory, those in the YAML file below the directory of that file.
- `.env` is taken literally: `${NAME}` in a value is not replaced.
- `cliproxy-exporter check-config` shows all problems at once, and whether the data directory can be written and the
  port is free; with `--connect` it also asks the proxies, and compares aliases and limits with what they have.
"""

_YAML = """\
## Only in the YAML file

Several proxies, and aliases: names that are shown instead of masked labels. A proxy has a `name` (1 to 64 of the
characters `A-Z a-z 0-9 _ . -`; it is the label `proxy`, and a renamed proxy is a new proxy), a `url`, and either
`management_key` or `management_key_file`. `source: subscribe` makes it
[subscribe](proxies.md#beside-another-dashboard) instead of reading the `queue`; `quotas` is `EXPORTER_QUOTAS` for this
proxy alone. The name `default` is the proxy of `CLIPROXY_MANAGEMENT_KEY`. Each server is configured once, because its
usage queue can have one reader only.

`cliproxy-exporter names` prints, on your terminal only, whose each label is: e-mail address, file name, or the end of a
key. `cliproxy-exporter names --write FILE` also adds an alias for each that has none to this file, for you to edit. An
edit of the aliases takes effect within seconds and splits no total, but a renamed series is a new one to Prometheus; an
edit with a mistake is not used. All other settings are read at the start.

An alias has 1 to 100 printable characters and is unique among clients, and among credentials. It names a client by one
of `key`, `key_file` (the key with which it calls the proxy) and `label`; it names a credential by one of `key` (an
upstream API key), `email`, `file` (its file name on the proxy), `auth_index` (which changes when CLIProxyAPI is
upgraded) and `label`. A `label` is the masked one that is shown without an alias; it holds as long as the
[hash key](operations.md#the-data-directory). Of several accounts with one e-mail address each has its provider or its
masked label behind the alias; one that the proxy lists no more does not count for that.
[proxies.md](proxies.md#accounts) says what one account is. The status page and the log name an alias that fits nothing,
or several accounts.

```yaml
proxies:
  - name: home
    url: http://localhost:8317
    management_key_file: secrets/home
  - name: office
    url: https://cpa.example.com
    management_key_file: secrets/office
    quotas: active

aliases:
  clients:
    - key: the-key-of-this-client
      alias: laptop
    - key_file: secrets/ci-key
      alias: ci
  credentials:
    - email: someone@example.com
      alias: team account
    - file: claude-someone.json
      alias: second account
    - label: gemini-key-80fb
      alias: paid key
```

## Of the predecessor

`SUPABASE_PUBLISHABLE_KEY`, `SUPABASE_KEY`, `SUPABASE_SERVICE_KEY`, `OAUTH_SYNC_INTERVAL_SECONDS` and names that begin
with `VITE_` may stay in the `.env`; they are ignored. Without any time zone setting the predecessor counted days
at UTC+7; here the machine's zone holds.
"""


def _for_compose(name: str, *, text: str, kind: str, default: str = "") -> Declared:
    """A variable that only ``docker-compose.yml`` reads; the exporter knows nothing of it."""
    meta = SettingMeta(help=text, kind=kind)
    return Declared(yaml_name=name.lower(), default=default, section="Only for docker-compose.yml", meta=meta)


_FOR_COMPOSE = (
    _for_compose(
        "ALERTMANAGER_CONFIG",
        kind="file",
        default="alertmanager.yml",
        text="Alertmanager's configuration, a file in the folder alertmanager/. git ignores those that begin with my-.",
    ),
    _for_compose(
        "CONFIG_DIR",
        kind="directory",
        default="./config",
        text="Folder with your YAML files and keys. In the container it is /app/config, so a file in it is named, for "
        "example, EXPORTER_CONFIG=config/exporter.yaml.",
    ),
    _for_compose(
        "GRAFANA_ADMIN_PASSWORD",
        kind="text",
        text="Password of Grafana's user admin. Only the first start of the stack reads it; docs/docker.md says how to "
        "change it later. With $ or # in it, put it into single quotes.",
    ),
    _for_compose(
        "GRAFANA_ANONYMOUS",
        kind="true or false",
        default="false",
        text="Whether everybody who reaches Grafana may look at the dashboards without a login.",
    ),
    _for_compose(
        "GRAFANA_PORT",
        kind="port number",
        default="3000",
        text="Port of Grafana on this machine. It can be reached from this machine only.",
    ),
    _for_compose(
        "GRAFANA_URL",
        kind="URL",
        default="http://localhost:3000",
        text="Where a browser finds Grafana, if that is another address: that of a reverse proxy, for example. "
        "The links of notifications lead there.",
    ),
    _for_compose(
        "PROMETHEUS_CONFIG",
        kind="file",
        default="prometheus.yml",
        text="Prometheus' configuration, a file in the folder prometheus/. git ignores those that begin with my-.",
    ),
    _for_compose(
        "PROMETHEUS_RETENTION",
        kind="Prometheus' duration",
        default="400d",
        text="How long Prometheus keeps its data.",
    ),
    _for_compose(
        "STACK_COMMAND",
        kind="command",
        default="run",
        text="The exporter's command, with its options. That of .env.demo reads the simulated proxy and nothing else.",
    ),
)


def settings_markdown() -> str:
    """The page ``docs/settings.md``."""
    parts = [_INTRODUCTION]
    for section, settings in groupby(declared(), key=lambda setting: setting.section):
        rows = [_row(setting) for setting in settings]
        parts.append(
            "\n".join(
                [f"## {section}", "", "| Name | Value | Default | Meaning |", "| --- | --- | --- | --- |", *rows, ""]
            )
        )
    return "\n".join([*parts, _YAML])


def _row(setting: Declared) -> str:
    meta = setting.meta
    names = f"`{setting.env_name}`"
    if meta.secret:
        names += f"<br>`{setting.file_name}`"
    if meta.also:
        names += f"<br>`{meta.also}` (older name)"
    default = f"`{setting.default}`" if setting.default else meta.unset
    meaning = meta.help + (" Secret." if meta.secret else "") + ("" if meta.in_yaml else " Not in the YAML file.")
    return f"| {names} | {meta.kind} | {default} | {meaning} |"


def env_example() -> str:
    """The file ``.env.example``: every setting, commented out unless it has to be filled in."""
    lines = [
        "# Copy to .env and fill in CLIPROXY_MANAGEMENT_KEY, and for Docker Compose GRAFANA_ADMIN_PASSWORD; everything",
        "# else may stay as it is. Generated from the program. docs/settings.md and docs/docker.md say more.",
    ]
    for section, settings in groupby((*declared(), *_FOR_COMPOSE), key=lambda setting: setting.section):
        lines += ["", f"# --- {section}"]
        for setting in settings:
            lines += _example(setting)
    return "\n".join([*lines, ""])


def _example(setting: Declared) -> list[str]:
    meta = setting.meta
    unset = f"unset ({meta.unset})" if meta.unset else "none, it has to be set"
    required = setting.env_name in ("CLIPROXY_MANAGEMENT_KEY", "GRAFANA_ADMIN_PASSWORD")
    return [
        *textwrap.wrap(meta.help, width=100, initial_indent="# ", subsequent_indent="# "),
        f"# {meta.kind}; default: {setting.default or unset}",
        f"{'' if required else '#'}{setting.env_name}={setting.default}",
    ]
