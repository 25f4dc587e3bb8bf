"""``python -m exporter.commands.reference DIR``: writes the tables of the pages that are made from the code."""

import re
import sys
from collections.abc import Iterable
from pathlib import Path

from exporter.history import state as history
from exporter.metrics.exposition import FAMILIES
from exporter.metrics.family import Family
from exporter.settings.reference import env_example, settings_markdown
from exporter.sources.proxy_status import STATES


def _metrics_markdown(page: str) -> str:
    return _with_table(page, ("metric", "type", "labels", "meaning"), map(_row, FAMILIES))


def _row(family: Family) -> tuple[str, ...]:
    labels = ", ".join(f"`{label}`" for label in family.labels) or "-"
    return f"`{family.sample_name}`", family.kind, labels, family.help.replace("|", r"\|")


def _with_table(page: str, head: tuple[str, ...], rows: Iterable[Iterable[str]]) -> str:
    """The page with these rows in its table of this head."""
    begin = f"{_line(head)}{_line('---' for _ in head)}"
    whole = begin + "".join(map(_line, rows))
    return re.sub(rf"^{re.escape(begin)}(?:\|.*\n)*", lambda _: whole, page, flags=re.MULTILINE)


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |\n"


def _proxies_markdown(page: str) -> str:
    rows = [(f"`{name}`", state.meaning, state.advice) for name, state in STATES.items()]
    return _with_table(page, ("state", "what it means", "what to do"), rows)


def _supabase_markdown(page: str) -> str:
    states = [(f"`{name}`", meaning) for name, meaning in history.STATES.items()]
    reasons = [(f"`{name}`", *words) for name, words in history.REASONS.items()]
    page = _with_table(page, ("state", "what it means"), states)
    return _with_table(page, ("reason", "what it is", "what to do"), reasons)


_PAGES = {
    "docs/metrics.md": _metrics_markdown,
    "docs/proxies.md": _proxies_markdown,
    "docs/settings.md": settings_markdown,
    "docs/supabase.md": _supabase_markdown,
    ".env.example": env_example,
}


def pages(root: Path) -> dict[Path, str]:
    """File → content, below the repository's ``root``. What stands between the tables is written by hand."""
    return {root / name: make((root / name).read_text(encoding="utf-8")) for name, make in _PAGES.items()}


def main(arguments: list[str]) -> None:
    """Write the pages; the argument is the directory ``docs``."""
    for path, content in pages(Path(arguments[0]).resolve().parent).items():
        path.write_text(content, encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
