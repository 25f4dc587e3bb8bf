"""Write all dashboards: ``python -m grafana.generator [FOLDER]``."""

import sys
from pathlib import Path

from grafana_foundation_sdk.builders import dashboard

from grafana.generator import accounts, limits, overview, trust
from grafana.generator.document import text_of
from grafana.generator.parts import ACCOUNTS, LIMITS, OVERVIEW, TRUST

FOLDER = Path(__file__).resolve().parents[1] / "dashboards"


def builders() -> dict[str, dashboard.Dashboard]:
    """File name → dashboard."""
    made = {OVERVIEW: overview, LIMITS: limits, ACCOUNTS: accounts, TRUST: trust}
    return {f"{uid}.json": each.build() for uid, each in made.items()}


def write(folder: Path) -> None:
    """Write every dashboard into ``folder``."""
    for name, builder in builders().items():
        (folder / name).write_text(text_of(builder), encoding="utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER)
