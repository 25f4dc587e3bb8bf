"""Write all dashboards: ``python -m grafana.generator [FOLDER]``."""

import sys
from pathlib import Path

from grafana_foundation_sdk.builders import dashboard

from grafana.generator import accounts, limits, overview, trust
from grafana.generator.document import text_of

FOLDER = Path(__file__).resolve().parents[1] / "dashboards"


def builders() -> dict[str, dashboard.Dashboard]:
    """File name → dashboard."""
    return {f"{each.UID}.json": each.build() for each in (overview, limits, accounts, trust)}


def write(folder: Path) -> None:
    """Write every dashboard into ``folder``."""
    for name, builder in builders().items():
        (folder / name).write_text(text_of(builder), encoding="utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER)
