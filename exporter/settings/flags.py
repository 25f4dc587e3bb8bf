"""Settings as flags, under the names that Prometheus' own exporters have. They go before the environment.

Each may stand before or behind the name of a command. Keys and tokens have none: everybody on a machine can see how a
program was started.
"""

from collections.abc import Callable
from typing import Any

import click

ALL_INTERFACES = "0.0.0.0"  # noqa: S104 - what Prometheus' exporters mean by an address without host


def given() -> dict[str, str]:
    """The settings that were given as flags of the command that runs, by their names in the environment."""
    context = click.get_current_context(silent=True)
    return {} if context is None else context.find_root().ensure_object(dict)


def _keep(name: str) -> Callable[[click.Context, click.Parameter, str | None], None]:
    def keep(context: click.Context, _: click.Parameter, text: str | None) -> None:
        if text is not None:
            context.find_root().ensure_object(dict)[name] = text

    return keep


def _keep_address(context: click.Context, _: click.Parameter, text: str | None) -> None:
    if text is None:
        return
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdigit():
        raise click.BadParameter(f"{text!r} is no address. Write HOST:PORT, or :PORT for all interfaces.")
    found = context.find_root().ensure_object(dict)
    found["EXPORTER_HOST"], found["EXPORTER_PORT"] = host.strip("[]") or ALL_INTERFACES, port


def setting_flags(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command, or the program, these flags."""
    for option in (
        click.option(
            "--log.level", metavar="LEVEL", expose_value=False, callback=_keep("LOG_LEVEL"), help="LOG_LEVEL."
        ),
        click.option(
            "--data-dir",
            metavar="DIR",
            expose_value=False,
            callback=_keep("EXPORTER_DATA_DIR"),
            help="EXPORTER_DATA_DIR.",
        ),
        click.option(
            "--web.config.file",
            metavar="FILE",
            expose_value=False,
            callback=_keep("EXPORTER_WEB_CONFIG"),
            help="EXPORTER_WEB_CONFIG: TLS and users.",
        ),
        click.option(
            "--web.listen-address",
            metavar="[HOST]:PORT",
            expose_value=False,
            callback=_keep_address,
            help="EXPORTER_HOST and EXPORTER_PORT; without a host it is all interfaces.",
        ),
        click.option(
            "--config.file",
            metavar="FILE",
            expose_value=False,
            callback=_keep("EXPORTER_CONFIG"),
            help="EXPORTER_CONFIG.",
        ),
    ):
        command = option(command)
    return command
