"""The reference page and ``.env.example``, written from the declarations so that they cannot differ from them."""

import textwrap
from itertools import groupby

from exporter.settings.model import Declared, declared

_INTRODUCTION = """\
# Settings

This page is generated from the program; change the declarations, not the page.

A setting is looked for in the environment, then in the file `.env` of the working directory, then in the YAML file that
`EXPORTER_CONFIG` names; the first one found is used, else the default. An empty value counts as not set.

- In YAML the names are in lower case, for example `exporter_port: 9400`. Unknown names are refused; in the environment
  they are warned about when they look like one of these.
- A secret can be read from a file: `EXPORTER_TOKEN_FILE=/run/secrets/token`. Line breaks at the end are removed.
  Set either the name or the name with `_FILE`, not both.
- Relative paths are below the working directory, those in the YAML file below the directory of that file.
- `.env` is taken literally: `${NAME}` in a value is not replaced.
- `cliproxy-exporter check-config` shows all problems at once.
"""

_YAML = """\
## Only in the YAML file

Several proxies, and aliases: names that are shown instead of masked labels. A proxy has a `name` (1 to 64 of the
characters `A-Z a-z 0-9 _ . -`; it is the label `proxy`, and a renamed proxy is a new proxy), a `url`, and either
`management_key` or `management_key_file`. The name `default` is the proxy of `CLIPROXY_MANAGEMENT_KEY`. Each server is
configured once, because its usage queue can have one reader only.

An alias has 1 to 100 printable characters and is unique among clients, and among credentials. A client is named by
`key` or `key_file` (the key with which it calls the proxy), a credential by exactly one of `key` (an upstream API key),
`email`, `file` (its file name on the proxy) and `auth_index` (which changes when CLIProxyAPI is upgraded).

```yaml
proxies:
  - name: home
    url: http://localhost:8317
    management_key_file: secrets/home
  - name: office
    url: https://cpa.example.com
    management_key_file: secrets/office

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
```

## Of the earlier collector

`SUPABASE_PUBLISHABLE_KEY`, `SUPABASE_KEY`, `SUPABASE_SERVICE_KEY`, `OAUTH_SYNC_INTERVAL_SECONDS` and names that begin
with `VITE_` may stay in the `.env`; they are ignored. Without any time zone setting the earlier collector counted days
at UTC+7; here the default is UTC.
"""


def settings_markdown() -> str:
    """The page ``docs/settings.md``."""
    parts = [_INTRODUCTION]
    for section, settings in groupby(declared(), key=lambda setting: setting.about.section):
        rows = [_row(setting) for setting in settings]
        parts.append(
            "\n".join(
                [f"## {section}", "", "| Name | Value | Default | Meaning |", "| --- | --- | --- | --- |", *rows, ""]
            )
        )
    return "\n".join([*parts, _YAML])


def _row(setting: Declared) -> str:
    about = setting.about
    names = f"`{setting.env_name}`"
    if about.secret:
        names += f"<br>`{setting.file_name}`"
    if about.also:
        names += f"<br>`{about.also}` (older name)"
    default = f"`{setting.default}`" if setting.default else about.unset
    meaning = about.help + (" Secret." if about.secret else "") + ("" if about.in_yaml else " Not in the YAML file.")
    return f"| {names} | {about.kind} | {default} | {meaning} |"


def env_example() -> str:
    """The file ``.env.example``: every setting, commented out unless it has to be filled in."""
    lines = [
        "# Copy to .env and fill in CLIPROXY_MANAGEMENT_KEY; everything else may stay as it is.",
        "# Generated from the program. docs/settings.md says more.",
    ]
    for section, settings in groupby(declared(), key=lambda setting: setting.about.section):
        lines += ["", f"# --- {section}"]
        for setting in settings:
            default = setting.default or f"unset ({setting.about.unset})"
            lines += textwrap.wrap(setting.about.help, width=100, initial_indent="# ", subsequent_indent="# ")
            lines.append(f"# {setting.about.kind}; default: {default}")
            required = setting.env_name == "CLIPROXY_MANAGEMENT_KEY"
            lines.append(f"{'' if required else '#'}{setting.env_name}={setting.default}")
    return "\n".join([*lines, ""])
