"""``python -m exporter.commands.reference DIR``: writes the pages and tables that are made from the code."""

import re
import sys
from collections.abc import Iterable
from pathlib import Path

from exporter.history import state as history
from exporter.metrics.exposition import FAMILIES
from exporter.metrics.family import Family
from exporter.proxy_status import STATES
from exporter.settings.reference import env_example, settings_markdown


def metrics_markdown() -> str:
    """The page about the metrics."""
    lines = [
        "# Metrics",
        "",
        "Made from the code by `make docs`. Names and labels are a contract: a change is listed in the changelog.",
        "",
        "`credential` and `client` are aliases from the configuration, or masked labels that never change. What is not"
        " known is absent, not 0. A counter that is new is shown to Prometheus as 0 for a minute or until each of"
        " several servers has seen it, so that `increase()` sees its first rise; a browser or a script always sees its"
        " value. `process_*` and `python_info` are those of prometheus_client.",
        "",
        "| metric | type | labels | meaning |",
        "| --- | --- | --- | --- |",
        *map(_row, FAMILIES),
        "",
    ]
    return "\n".join(lines)


def _row(family: Family) -> str:
    labels = ", ".join(f"`{label}`" for label in family.labels) or "-"
    return f"| `{family.sample_name}` | {family.kind} | {labels} | {family.help.replace('|', chr(92) + '|')} |"


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


def pages(root: Path) -> dict[Path, str]:
    """File → content, below the repository's ``root``. Of pages written by hand only the tables of states change."""
    proxies, supabase = root / "docs" / "proxies.md", root / "docs" / "supabase.md"
    return {
        proxies: _proxies_markdown(proxies.read_text(encoding="utf-8")),
        supabase: _supabase_markdown(supabase.read_text(encoding="utf-8")),
        root / "docs" / "metrics.md": metrics_markdown(),
        root / "docs" / "settings.md": settings_markdown(),
        root / ".env.example": env_example(),
    }


def main(arguments: list[str]) -> None:
    """Write the pages; the argument is the directory ``docs``."""
    for path, content in pages(Path(arguments[0]).resolve().parent).items():
        path.write_text(content, encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
