"""The table of limits, nearest to exhaustion first, that both dashboards show."""

from typing import Any

from grafana_foundation_sdk.builders import table

from grafana.generator.parts import (
    GREEN,
    ORANGE,
    RED,
    TEXT,
    USED_STEPS,
    listing,
    rows,
    steps_of,
    with_columns,
    words,
)
from grafana.generator.queries import LEVEL, PACE, RESETS_IN, RUNS_OUT_IN, USED, limit, per_limit

_BACKGROUND = {"type": "color-background", "mode": "basic"}
_COLORED_TEXT = {"type": "color-text"}
_BAR = {"type": "gauge", "mode": "basic", "valueDisplayMode": "text"}
_UNITS = words(share=("share", TEXT), usd=("USD", TEXT))
_LEVELS = words(_0=("fine", GREEN), _1=("warning", ORANGE), _2=("critical", RED))
_NOT_BEFORE_RESET = "not before its reset"


def short_table(title: str, description: str) -> table.Panel:
    """What runs out next, and when."""
    return with_columns(
        _table(title, description)
        .with_target(rows(per_limit(LEVEL, "sum"), "A"))
        .with_target(rows(per_limit(USED), "B"))
        .with_target(rows(per_limit(RESETS_IN), "C"))
        .with_target(rows(per_limit(RUNS_OUT_IN), "D")),
        {
            "limit": "Limit",
            "credential": "Account",
            "scope": "Scope",
            "unit": "Unit",
            "Value #B": "Used",
            "Value #A": "State",
            "Value #C": "Resets in",
            "Value #D": "Runs out in",
        },
        _LOOKS,
        sort="Used",
    )


def full_table(title: str, description: str) -> table.Panel:
    """The same with window, pace and amounts."""
    return with_columns(
        _table(title, description)
        .with_target(rows(per_limit(LEVEL, "sum"), "A"))
        .with_target(rows(per_limit(USED), "B"))
        .with_target(rows(per_limit(RESETS_IN), "C"))
        .with_target(rows(per_limit(RUNS_OUT_IN), "D"))
        .with_target(rows(per_limit(PACE), "E"))
        .with_target(rows(per_limit(limit("used")), "F"))
        .with_target(rows(per_limit(limit("budget")), "G")),
        {
            "limit": "Limit",
            "window": "Window",
            "credential": "Account",
            "scope": "Scope",
            "Value #B": "Used",
            "Value #A": "State",
            "Value #C": "Resets in",
            "Value #D": "Runs out in",
            "Value #E": "Pace",
            "Value #F": "Amount",
            "Value #G": "Budget",
            "unit": "Unit",
        },
        _LOOKS,
        sort="Used",
    )


def _table(title: str, description: str) -> table.Panel:
    return listing(title, description, unit="percentunit").no_value("-")


_LOOKS: dict[str, dict[str, Any]] = {
    "Limit": {"custom_width": 130},
    "Window": {"custom_width": 70},
    "Account": {"custom_width": 135},
    "Scope": {"custom_width": 150},
    "Used": {
        "min": 0,
        "max": 1,
        "decimals": 0,
        "thresholds": steps_of(USED_STEPS),
        "custom_cellOptions": _BAR,
        "custom_minWidth": 130,
    },
    "State": {"mappings": [_LEVELS], "custom_cellOptions": _BACKGROUND, "custom_width": 80},
    "Resets in": {"unit": "dtdurations", "decimals": 1, "custom_width": 165},
    "Runs out in": {
        "unit": "dtdurations",
        "decimals": 1,
        "noValue": "not before reset",
        # No forecast is below 0, so what has none keeps the color of text.
        "thresholds": steps_of(((None, TEXT), (0, RED), (3600, ORANGE))),
        "custom_cellOptions": _COLORED_TEXT,
        "custom_width": 180,
    },
    "Pace": {
        "unit": "none",
        "decimals": 2,
        "thresholds": steps_of(((None, TEXT), (1, ORANGE))),
        "custom_cellOptions": _COLORED_TEXT,
        "custom_width": 65,
    },
    "Amount": {"unit": "short", "custom_width": 80},
    "Budget": {"unit": "short", "custom_width": 80},
    "Unit": {"mappings": [_UNITS], "custom_width": 80},
}
