"""``make dashboard-pictures``: retakes the pictures of the dashboards in ``docs/images/``, from a Grafana.

``dashboards.json`` beside them names the dashboards that they show, so that a test notices outdated pictures. A changed
description makes none outdated, because pictures do not show it.
"""

import hashlib
import json
import re
import sys
from pathlib import Path

from tests.stack.pages.browser import opened, picture, run_chromium
from tests.stack.pages.pictures import FOLDER

_DASHBOARDS = sorted((Path(__file__).resolve().parents[3] / "grafana" / "dashboards").glob("*.json"))
RECORD = FOLDER / "dashboards.json"
_DESCRIPTION = re.compile(rb'^ *"description": .*\n', re.MULTILINE)

_WIDTH = 1400
_ROW, _GAP = 30, 8
"""Pixels of a unit of Grafana's grid. Grafana loads a panel once it is in sight, so all of them must be."""
_HEADER = 120


def picture_of(dashboard: Path) -> Path:
    return FOLDER / f"{dashboard.stem.replace('cliproxy', 'dashboard')}.png"


def of_today() -> dict[str, str]:
    """The content of ``dashboards.json`` if the pictures show the present dashboards."""
    shown = {file.name: _DESCRIPTION.sub(b"", file.read_bytes()) for file in _DASHBOARDS}
    pictures = {file.name: file.read_bytes() for file in map(picture_of, _DASHBOARDS)}
    return {name: hashlib.sha256(content).hexdigest() for name, content in (shown | pictures).items()}


def take_all(grafana: str) -> None:
    """Take all pictures from the Grafana at this URL, which needs no login, and write down what they show."""
    with run_chromium() as browser:
        for dashboard in _DASHBOARDS:
            panels = json.loads(dashboard.read_text(encoding="utf-8"))["panels"]
            rows = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in panels)
            url = f"{grafana}/d/{dashboard.stem}?from=now-24h&to=now&theme=dark&kiosk"
            with opened(browser, url, width=_WIDTH, height=rows * (_ROW + _GAP) + _HEADER, scheme="dark") as seen:
                seen.page.wait_for_load_state("networkidle")
                picture(seen.page, picture_of(dashboard), full_page=True)
    RECORD.write_text(json.dumps(of_today(), indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    take_all(sys.argv[1].rstrip("/"))
