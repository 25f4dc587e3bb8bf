"""The tables of ``docs/settings.md`` and the settings in ``.env.example``, written from the declarations."""

import re
import textwrap
from itertools import groupby
from operator import attrgetter

from exporter.settings.declared import Declared, declared

_FOR_COMPOSE = "\n# --- Only for docker-compose.yml\n"
"""From this line on ``.env.example`` is written by hand: these variables are not the exporter's."""


def settings_markdown(page: str) -> str:
    """The page ``docs/settings.md`` with its tables as they should be, each below the heading of its section."""
    for section, settings in groupby(declared(), key=attrgetter("section")):
        head = f"## {section}\n\n| Name | Value | Default | Meaning |\n| --- | --- | --- | --- |\n"
        table = (head + "".join(map(_row, settings))).replace("\\", r"\\")
        page = re.sub(rf"^{re.escape(head)}(?:\|.*\n)*", table, page, flags=re.MULTILINE)
    return page


def _row(setting: Declared) -> str:
    names = f"`{setting.env_name}`"
    if setting.secret:
        names += f"<br>`{setting.file_name}`"
    if setting.also:
        names += f"<br>`{setting.also}` (older name)"
    default = f"`{setting.default}`" if setting.default else setting.unset
    meaning = (
        setting.help + (" Secret." if setting.secret else "") + ("" if setting.in_yaml else " Not in the YAML file.")
    )
    return f"| {names} | {setting.kind} | {default} | {meaning} |\n"


def env_example(text: str) -> str:
    """The file ``.env.example`` with every setting, commented out unless it has to be filled in."""
    lines = [
        "# Copy to .env and fill in CLIPROXY_MANAGEMENT_KEY, and for Docker Compose GRAFANA_ADMIN_PASSWORD; everything",
        "# else may stay as it is. Generated from the program. docs/settings.md and docs/docker.md say more.",
    ]
    for section, settings in groupby(declared(), key=attrgetter("section")):
        lines += ["", f"# --- {section}"]
        for setting in settings:
            lines += _example(setting)
    return "\n".join([*lines, "".join(text.partition(_FOR_COMPOSE)[1:])])


def _example(setting: Declared) -> list[str]:
    return [
        *textwrap.wrap(setting.help, width=100, initial_indent="# ", subsequent_indent="# "),
        f"# {setting.kind}; default: {setting.default or f'unset ({setting.unset})'}",
        f"{'' if setting.env_name == 'CLIPROXY_MANAGEMENT_KEY' else '#'}{setting.env_name}={setting.default}",
    ]
