"""From a built dashboard to the text of its file: the same bytes each time.

The SDK leaves the numbers of panels to Grafana, which would assign new ones at each import. Links to a panel and
annotations refer to these numbers, so they are set here.
"""

import json
from typing import Any

from grafana_foundation_sdk.builders import dashboard
from grafana_foundation_sdk.cog.encoder import JSONEncoder

_NOT_OF_A_QUERY_VARIABLE = ("auto", "auto_count", "auto_min")
"""The SDK writes them for every variable; Grafana knows them for intervals only."""


def text_of(builder: dashboard.Dashboard) -> str:
    """The JSON of a dashboard."""
    document: dict[str, Any] = json.loads(json.dumps(builder.build(), cls=JSONEncoder))
    panels = [each for panel in document["panels"] for each in (panel, *(panel.get("panels") or ()))]
    for number, panel in enumerate(panels, start=1):
        panel["id"] = number
        panel.get("options", {}).pop("footer", None)  # an option of Grafana's old table
    for variable in document["templating"]["list"]:
        for name in _NOT_OF_A_QUERY_VARIABLE:
            variable.pop(name, None)
    for shown in (*document["links"], *document["annotations"]["list"]):
        shown.pop("placement", None)  # it would hide them in a menu
    return json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
