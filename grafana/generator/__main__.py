"""Write all dashboards: ``python -m grafana.generator [FOLDER]``."""

import sys
from importlib import import_module
from pathlib import Path

from grafana_foundation_sdk.builders import dashboard

from grafana.generator.dashboards import DASHBOARDS
from grafana.generator.document import text_of

FOLDER = Path(__file__).resolve().parents[1] / "dashboards"


def builders() -> dict[str, dashboard.Dashboard]:
    """File name → dashboard. The module of ``cliproxy-NAME`` is ``NAME.py``."""
    modules = {uid: import_module(f"grafana.generator.{uid.removeprefix('cliproxy-')}") for uid in DASHBOARDS}
    return {f"{uid}.json": module.build() for uid, module in modules.items()}


def write(folder: Path) -> None:
    """Write every dashboard into ``folder``."""
    for name, builder in builders().items():
        (folder / name).write_text(text_of(builder), encoding="utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER)
