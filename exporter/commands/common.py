"""What the commands share: settings, log, and errors as exit codes."""

import errno
import os
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, tzinfo
from functools import partial
from pathlib import Path

import click

from exporter import formats
from exporter.commands.machine_defaults import find_data_dir, machine_zone
from exporter.days import local_time, moment_ms
from exporter.errors import ExporterError, SettingsError
from exporter.limits.limit_file import read_limit_file
from exporter.logs import add_secrets, configure_logging
from exporter.pricing.price_file import read_price_file
from exporter.settings import flags
from exporter.settings.load import NO_PROXY, Loaded, load_settings
from exporter.settings.model import Settings
from exporter.settings.proxies import Aliases
from exporter.web.config_file import read_web_config

FAILED, WRONG_SETTINGS = 1, 2

_FILE_READERS: dict[str, Callable[[Path], object]] = {
    "exporter_prices_file": read_price_file,
    "exporter_limits_file": partial(read_limit_file, zone=UTC),
    "exporter_web_config": read_web_config,
}


def load(*, for_demo: bool = False, starts: bool = False) -> Loaded:
    """The settings of this process, with all problems in them and in the files that they name.

    ``for_demo``: see ``load_settings``; ``starts``: see ``find_data_dir``.
    """
    cwd = Path.cwd()
    data_dir = find_data_dir(os.environ, cwd=cwd, starts=starts)
    loaded = load_settings(
        os.environ,
        cwd=cwd,
        data_dir=data_dir.path,
        machine_zone=machine_zone(os.environ),
        flags=flags.given(),
        file_readers=_FILE_READERS,
        for_demo=for_demo,
    )
    if data_dir.note is not None and loaded.origins["EXPORTER_DATA_DIR"] == "default":
        (loaded.warnings if data_dir.is_doubtful else loaded.notes).append(data_dir.note)
        if data_dir.of_demo and loaded.settings is not None:
            loaded.settings = as_in_demo(loaded.settings)
    return loaded


def as_in_demo(settings: Settings) -> Settings:
    """These settings with the demo's limits and aliases, unless the user has some."""
    from exporter.simulator.world import LIMITS_FILE, demo_aliases  # noqa: PLC0415 - only the demo needs it

    return settings.model_copy(
        update={
            "exporter_limits_file": settings.exporter_limits_file or LIMITS_FILE,
            "aliases": settings.aliases if settings.aliases != Aliases() else demo_aliases(),
        }
    )


def ready_settings(*, for_demo: bool = False, starts: bool = False, needs_proxy: bool = False) -> Settings:
    """The settings, after setting up logging as they say. Raises SettingsError with all problems.

    ``for_demo`` and ``starts`` as for ``load``. A command that ``starts`` an exporter also prints the notes.
    """
    loaded = load(for_demo=for_demo, starts=starts)
    settings = loaded.require()
    for note in loaded.notes if starts else ():
        click.echo(f"note: {note}")
    add_secrets(settings.secret_values())
    configure_logging(settings.log_level, settings.log_format, stream=sys.stderr)
    for warning in loaded.warnings:
        click.echo(f"warning: {warning}", err=True)
    if needs_proxy and not settings.proxies:
        raise SettingsError(NO_PROXY)
    return settings


def moment_option(name: str, text: str, zone: tzinfo) -> int:
    """The day or moment that an option names, in ms since the epoch. Raises BadParameter."""
    try:
        ms = moment_ms(text, zone)
        local_time(ms, zone)  # fails for a moment that cannot be shown
    except (ValueError, OverflowError) as exc:
        why = f"{text!r} is neither a day (2026-10-01) nor a moment (2026-10-01T12:00)."
        raise click.BadParameter(why, param_hint=name) from exc
    return ms


@contextmanager
def exit_codes() -> Iterator[None]:
    """Turn errors into a sentence on standard error and an exit code."""
    try:
        yield
        click.echo(nl=False)  # writes what is left in the buffer
    except OSError as exc:
        if exc.errno != errno.ENOSPC:
            raise  # click ends a command whose reader has closed the pipe
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python writes what is left when it ends
        click.echo(f"The output cannot be written ({exc.strerror}).", err=True)
        raise SystemExit(FAILED) from exc
    except ExporterError as exc:
        click.echo(str(exc), err=True)
        raise SystemExit(WRONG_SETTINGS if isinstance(exc, SettingsError) else FAILED) from exc


def print_table(head: Sequence[str], rows: Iterable[Sequence[str]], *, right: Collection[str] = ()) -> None:
    """Print rows below a head; the columns named in ``right`` are flush right."""
    lines = [[formats.printable(text) for text in line] for line in (head, *rows)]
    widths = [max(map(formats.width, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        cells = []
        for text, width, name in zip(line, widths, head, strict=True):
            padding = " " * (width - formats.width(text))
            cells.append(padding + text if name in right else text + padding)
        click.echo("  ".join(cells).rstrip())
