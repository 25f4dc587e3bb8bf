"""``python -m exporter.commands.reference DIR``: writes the reference pages that are made from the code."""

import sys
from pathlib import Path

from exporter.metrics.exposition import FAMILIES
from exporter.metrics.family import Family
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
        " value.",
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


def pages(root: Path) -> dict[Path, str]:
    """File → content, below the repository's ``root``."""
    return {
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
