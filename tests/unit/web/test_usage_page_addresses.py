"""Addresses that keep a question, and times as pages write them."""

from datetime import UTC, datetime
from urllib.parse import parse_qsl, urlsplit
from zoneinfo import ZoneInfo

import pytest

from exporter.usage.ranges import Range
from exporter.web.usage_page import Address, month_name, span_name, step_name, written

_BERLIN = ZoneInfo("Europe/Berlin")


def _ms(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp()) * 1000


@pytest.mark.parametrize("value", ["plain", "a&b=c#d?e", "=cmd", "ü 字 \u202e", "<script>'\"", "%41+ "])
def test_any_value_survives_an_address(value: str) -> None:
    address = Address("/usage", {"model": value, "by": "day"}).but(by="client", client=value)

    assert dict(parse_qsl(urlsplit(address).query)) == {"model": value, "by": "client", "client": value}


def test_parameters_can_change_and_disappear() -> None:
    address = Address("/usage", {"range": "7d", "by": "day"})

    assert address.but(by=None) == "/usage?range=7d"
    assert address.but(by=None, range=None) == "/usage"
    assert address.without(["range"]) == {"by": "day"}


@pytest.mark.parametrize(
    ("unit", "name"),
    [
        ("hour", "Sun 25 Oct, 02:00"),
        ("day", "Sun 25 Oct 2026"),
        ("week", "Week from Sun 25 Oct 2026"),
        ("month", "October 2026"),
    ],
)
def test_a_step_is_named_by_its_beginning(unit: str, name: str) -> None:
    step = Range(_ms("2026-10-25T02:00+01:00"), _ms("2026-10-25T03:00+01:00"))

    assert step_name(step, unit, _BERLIN) == name
    assert span_name(step, _BERLIN) == "2026-10-25 02:00 to 2026-10-25 03:00"


def test_moments_in_addresses_are_unambiguous() -> None:
    assert written(_ms("2026-10-25T00:00+02:00"), _BERLIN) == "2026-10-25"
    assert written(_ms("2026-10-25T02:00+01:00"), _BERLIN) == "2026-10-25T02:00+01:00"
    assert written(_ms("2026-10-25T00:15+00:00"), UTC) == "2026-10-25T00:15+00:00"
    azores, cairo = ZoneInfo("Atlantic/Azores"), ZoneInfo("Africa/Cairo")
    assert written(_ms("2026-10-25T00:00+00:00"), azores) == "2026-10-25"
    assert written(_ms("2026-10-25T00:00-01:00"), azores) == "2026-10-25T00:00-01:00"  # the second midnight
    assert written(_ms("2026-04-24T01:00+03:00"), cairo) == "2026-04-24"  # a day without midnight
    assert month_name("2026-11") == "November 2026"
