"""Settings as flags, under the names that Prometheus' own exporters have. They take precedence over the environment.

Each may stand before the name of the command, and also after it if the command starts an exporter. Keys and tokens
have no flag, because everybody on a machine can see how a program was started.
"""

from collections.abc import Callable
from typing import Any

import click


def given() -> dict[str, str]:
    """The settings that the command line gives as flags, by their names in the environment."""
    context = click.get_current_context(silent=True)
    return {} if context is None else context.find_root().ensure_object(dict)


def _keep(context: click.Context, option: click.Parameter, text: str | None) -> None:
    found = context.find_root().ensure_object(dict)
    if text is not None and option.name == "EXPORTER_HOST":
        host, colon, port = text.rpartition(":")
        if not colon or not port.isdigit():
            raise click.BadParameter(f"{text!r} is not an address. Write HOST:PORT, or :PORT for all interfaces.")
        found["EXPORTER_HOST"], found["EXPORTER_PORT"] = host.strip("[]") or "0.0.0.0", port  # noqa: S104
    elif text is not None:
        found[option.name] = text


def setting_flags(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command, or the program, these flags."""
    for flag, metavar, setting, more in (
        ("--log.level", "LEVEL", "LOG_LEVEL", "."),
        ("--data-dir", "DIR", "EXPORTER_DATA_DIR", "."),
        ("--web.config.file", "FILE", "EXPORTER_WEB_CONFIG", ": TLS and users."),
        ("--web.listen-address", "[HOST]:PORT", "EXPORTER_HOST", " and EXPORTER_PORT; without a host, all interfaces."),
        ("--config.file", "FILE", "EXPORTER_CONFIG", "."),
    ):
        option = click.option(flag, setting, metavar=metavar, expose_value=False, callback=_keep, help=setting + more)
        command = option(command)
    return command
