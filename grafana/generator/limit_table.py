"""The table of limits, nearest to exhaustion first, that both dashboards show."""

from grafana_foundation_sdk.builders import table

from grafana.generator.parts import (
    COLORED_TEXT,
    DURATION,
    GREEN,
    ORANGE,
    RED,
    TEXT,
    USED_STEPS,
    Column,
    joined,
    listing,
    steps_of,
    words,
)
from grafana.generator.queries import LEVEL, PACE, RESETS_IN, RUNS_OUT_IN, USED, limit, per_limit

_QUERIES = [per_limit(each) for each in (LEVEL, USED, RESETS_IN, RUNS_OUT_IN, PACE, limit("used"), limit("budget"))]
_UNITS = words(share=("share", TEXT), usd=("USD", TEXT))
_LEVELS = words(_0=("fine", GREEN), _1=("warning", ORANGE), _2=("critical", RED))
_FORECAST = {
    # No forecast is below 0, so a limit without one keeps the color of text.
    "thresholds": steps_of(((None, TEXT), (0, RED), (3600, ORANGE))),
}
_LIMIT = Column("limit", "Limit", {"custom_width": 130})
_WINDOW = Column("window", "Window", {"custom_width": 70})
_OF = (Column("credential", "Account", {"custom_width": 135}), Column("scope", "Scope", {"custom_width": 150}))
_STATE = (
    Column(
        "Value #B",
        "Used",
        {
            "min": 0,
            "max": 1,
            "decimals": 0,
            "thresholds": steps_of(USED_STEPS),
            "custom_cellOptions": {"type": "gauge", "mode": "basic", "valueDisplayMode": "text"},
            "custom_minWidth": 130,
        },
    ),
    Column(
        "Value #A",
        "State",
        {
            "mappings": [_LEVELS],
            "custom_cellOptions": {"type": "color-background", "mode": "basic"},
            "custom_width": 80,
        },
    ),
    Column("Value #C", "Resets in", {**DURATION, "custom_width": 165}),
    Column("Value #D", "Runs out in", {**DURATION, **_FORECAST, **COLORED_TEXT, "custom_width": 180}),
)
_PACE = {"unit": "none", "decimals": 2, "thresholds": steps_of(((None, TEXT), (1, ORANGE)))}
_AMOUNTS = (
    Column("Value #E", "Pace", {**_PACE, **COLORED_TEXT, "custom_width": 65}),
    Column("Value #F", "Amount", {"unit": "short", "custom_width": 80}),
    Column("Value #G", "Budget", {"unit": "short", "custom_width": 80}),
)
_UNIT = Column("unit", "Unit", {"mappings": [_UNITS], "custom_width": 80})


def short_table(title: str, description: str) -> table.Panel:
    """What runs out next, and when."""
    panel = listing(title, description, *_QUERIES[:4], unit="percentunit")
    return joined(panel, _LIMIT, *_OF, _UNIT, *_STATE, sort="Used")


def full_table(title: str, description: str) -> table.Panel:
    """The same with window, pace and amounts."""
    panel = listing(title, description, *_QUERIES, unit="percentunit")
    return joined(panel, _LIMIT, _WINDOW, *_OF, *_STATE, *_AMOUNTS, _UNIT, sort="Used")
