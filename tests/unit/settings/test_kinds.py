"""Fields of rows: the values that they read, and the messages about texts that they cannot read."""

from datetime import date, tzinfo
from pathlib import Path
from typing import Annotated
from zoneinfo import ZoneInfo

import pytest

from exporter.settings.kinds import Day, Zone, read_by
from exporter.settings.problems import ProblemsError
from exporter.settings.yaml_rows import Row, read_rows


class _Party(Row):
    on: Day = date.min
    zone: Zone | None = None
    guests: Annotated[int, read_by(int, "{value} is no number of guests.", "Count them.")] = 0
    cake: Annotated[str, read_by({"plum": "Plum"}.get, "{value} is no cake.", "Take plum.")] = ""


def _read(folder: Path, text: str) -> _Party:
    path = folder / "party.yaml"
    path.write_text(text, encoding="utf-8")
    return read_rows(path, _Party, setting="PARTY")


def test_a_field_is_read_from_its_text(tmp_path: Path) -> None:
    party = _read(tmp_path, "{on: 2026-02-28, zone: Asia/Kathmandu, guests: 12, cake: plum}")
    zone: tzinfo = ZoneInfo("Asia/Kathmandu")
    assert (party.on, party.zone, party.guests, party.cake) == (date(2026, 2, 28), zone, 12, "Plum")


@pytest.mark.parametrize(
    ("field", "said"),
    [
        ("on: 2026-02-29", "'2026-02-29' is not a day. Write it as 2026-11-24."),
        ("on: 20260228", "'20260228' is not a day."),
        ("on: 2026-W09-6", "'2026-W09-6' is not a day."),
        ("zone: Asia/Katmandoo", "'Asia/Katmandoo' is not a time zone of the IANA database."),
        ("guests: many", "'many' is no number of guests. Count them."),
        ("cake: stone", "'stone' is no cake. Take plum."),
        ("cake:", "cake is not a single value. Write one value there."),
        ("cake: [plum]", "cake is not a single value. Write one value there."),
    ],
)
def test_an_unreadable_text_is_reported_with_what_to_do(tmp_path: Path, field: str, said: str) -> None:
    with pytest.raises(ProblemsError) as raised:
        _read(tmp_path, f"\n{field}\n")
    [problem] = raised.value.problems
    assert str(problem).startswith(f"PARTY (party.yaml:2): {said}")
