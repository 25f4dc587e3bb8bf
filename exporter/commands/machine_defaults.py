"""Defaults from the machine: the data directory, the running exporters, and the time zone.

A running exporter announces itself in a file, and its lock shows whether that is still true. So a command finds the
running exporter's ledger from any folder, and a second exporter meets the first one's lock, instead of starting another
ledger elsewhere and taking records from the same queue.
"""

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from exporter.ledger.database import FILE_NAME, is_in_use
from exporter.settings.kinds import is_zone
from exporter.settings.problems import Problem

_SETTING = "EXPORTER_DATA_DIR"
DEMO = "demo"
"""The demo's folder in the data directory, and its kind among what is running."""
_LOCALTIME, _TIMEZONE = Path("/etc/localtime"), Path("/etc/timezone")


@dataclass(frozen=True)
class DataDirectory:
    """Where the data is without ``EXPORTER_DATA_DIR``, and a note for the user; ``is_doubtful`` makes it a warning.

    ``of_demo``: the directory is that of a running demo.
    """

    path: Path
    note: Problem | None = None
    is_doubtful: bool = False
    of_demo: bool = False


def user_data_dir(environ: Mapping[str, str]) -> Path | None:
    """The user's directory for the exporter, None for a user without a home."""
    given = Path(environ.get("XDG_DATA_HOME", ""))
    if given.is_absolute():
        return given / "cliproxy-exporter"
    try:
        home = Path.home()
    except RuntimeError:
        return None
    below = ("Library", "Application Support") if sys.platform == "darwin" else (".local", "share")
    return home.joinpath(*below, "cliproxy-exporter")


def find_data_dir(environ: Mapping[str, str], *, cwd: Path, starts: bool = False) -> DataDirectory:
    """The running exporter's directory, else ``data`` below ``cwd`` if it holds a ledger, else the user's.

    Without a ledger there, a demo that runs alone counts, unless this command starts an exporter (``starts``).
    """
    old = cwd / "data"
    user = user_data_dir(environ) or old
    path = old if any(_is_seen(old / name) for name in (FILE_NAME, f"{DEMO}/{FILE_NAME}")) else user
    running = _running(user)
    found = [directory for directory, kind in running if kind != DEMO]
    if len(found) == 1:
        return DataDirectory(found[0], _note(f"The running exporter's data directory is used: {found[0]}."))
    if found:
        why = f"Several exporters are running, with {', '.join(map(str, sorted(found)))}; {path} is used."
        return DataDirectory(path, _note(why), is_doubtful=True)
    if len(running) == 1 and not starts and not _is_seen(path / FILE_NAME):
        why = f"These are the invented figures of the running demo, from {running[0][0]}."
        return DataDirectory(running[0][0], _note(why), is_doubtful=True, of_demo=True)
    if path == old != user:
        return DataDirectory(path, _note(f"The ledger in {path} is used; without it, {user} would be."))
    return DataDirectory(path)


def _is_seen(file: Path) -> bool:
    """Whether there is such a file, and this user may see it."""
    return os.access(file, os.F_OK)


def _note(why: str) -> Problem:
    return Problem(setting=_SETTING, place="not set", why=why, fix="Set it to choose one.")


@contextmanager
def announced(environ: Mapping[str, str], data_dir: Path, *, is_demo: bool) -> Iterator[None]:
    """In this context, the user's commands find the data directory, whose lock this process holds."""
    user = user_data_dir(environ) or data_dir
    file = user / "running" / str(os.getpid())
    with suppress(OSError):  # a service may lack the right; its commands are given the directory
        _running(user)
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        file.write_text(f"{data_dir.resolve()}\n{DEMO if is_demo else ''}\n", encoding="utf-8")
    try:
        yield
    finally:
        with suppress(OSError):
            file.unlink(missing_ok=True)


def _running(user: Path) -> list[tuple[Path, str]]:
    """The data directories of running exporters, each with its kind. Files of killed ones are deleted."""
    found = []
    with suppress(OSError):
        for file in sorted((user / "running").iterdir()):
            path, kind, *_ = [*file.read_text(encoding="utf-8").splitlines(), "", ""]
            if is_in_use(Path(path)):
                found.append((Path(path), kind))
            else:
                file.unlink(missing_ok=True)
    return found


def machine_zone(environ: Mapping[str, str], *, localtime: Path = _LOCALTIME, timezone: Path = _TIMEZONE) -> str | None:
    """The IANA name of the machine's time zone, None if it has no name."""
    names = [environ.get("TZ", "").removeprefix(":")]
    with suppress(OSError):
        names.append(os.path.realpath(localtime, strict=True).rpartition("zoneinfo/")[2])
    with suppress(OSError, UnicodeDecodeError):
        names.append(timezone.read_text(encoding="utf-8").strip())
    return next(filter(is_zone, names), None)
