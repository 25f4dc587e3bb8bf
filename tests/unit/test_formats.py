"""Numbers and times on the page: short, and never rounded to nothing."""

from zoneinfo import ZoneInfo

import pytest

from exporter import formats


@pytest.mark.parametrize(
    ("nano_usd", "text"),
    [
        pytest.param(0, "$0.00", id="nothing"),
        pytest.param(1, "<$0.0001", id="a nano-dollar is not nothing"),
        pytest.param(50_000, "<$0.0001", id="half to even"),
        pytest.param(50_001, "$0.0001", id="smallest that is written"),
        pytest.param(123_456_789, "$0.1235", id="below a dollar"),
        pytest.param(999_949_999, "$0.9999", id="just below a dollar"),
        pytest.param(999_960_000, "$1.00", id="rounded up to a dollar"),
        pytest.param(1_005_000_000, "$1.00", id="half a cent to even"),
        pytest.param(1_234_567_890_000_000, "$1,234,567.89", id="thousands separated"),
    ],
)
def test_money_has_two_decimals_and_four_below_a_dollar(nano_usd: int, text: str) -> None:
    assert formats.usd(nano_usd) == text


def test_exact_money_shows_everything_that_is_booked() -> None:
    assert formats.exact_usd(1_234_000_000_001) == "1,234.000000001 USD"


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0"),
        (999, "999"),
        (1000, "1.0k"),
        (12_345, "12.3k"),
        (999_949, "999.9k"),
        (999_950, "1.0M"),
        (1_200_000, "1.2M"),
        (7_000_000_000, "7.0G"),
        (5 * 10**15, "5,000.0T"),
    ],
)
def test_large_numbers_are_short(number: int, text: str) -> None:
    assert formats.short(number) == text


@pytest.mark.parametrize(
    ("share", "text"),
    [(None, "–"), (0.0, "0%"), (0.0005, "<0.1%"), (0.001, "0.1%"), (0.0949, "9.5%"), (1.0, "100.0%")],  # noqa: RUF001
)
def test_a_share_is_percent_or_a_dash(share: float | None, text: str) -> None:
    assert formats.share(share) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-3, "0 s ago"), (59.9, "59 s ago"), (60, "1 min ago"), (7300, "2 h ago"), (200_000, "2 d ago")],
)
def test_an_age_has_a_suitable_unit(seconds: float, text: str) -> None:
    assert formats.since(seconds) == text


def test_times_are_in_the_users_zone() -> None:
    assert formats.moment(1_793_000_000_000, ZoneInfo("Asia/Kolkata")) == "2026-10-26 13:03"


def test_a_long_name_is_cut_and_its_tooltip_is_bounded() -> None:
    name = "n" * 10_000

    assert (len(formats.cut(name)), len(formats.cut(name, 300))) == (48, 300)
    assert (formats.cut("gpt-5.4"), formats.cut("gpt-5.4", 300)) == ("gpt-5.4", "gpt-5.4")


@pytest.mark.parametrize(
    ("now", "before", "text"),
    [
        (112, 100, "+12%"),
        (88, 100, "−12%"),  # noqa: RUF001
        (100, 100, "±0%"),
        (1001, 1000, "±0%"),
        (5, 0, "–"),  # noqa: RUF001
        (0, 0, "–"),  # noqa: RUF001
        (0, 7, "−100%"),  # noqa: RUF001
        (10**6, 1, ">+999%"),
    ],
)
def test_a_change_is_percent_or_a_dash(now: int, before: int, text: str) -> None:
    assert formats.change(now, before) == text


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@sum", "\t=1", "\r=1", "'=1", "''-1"])
def test_a_text_that_a_spreadsheet_would_run_is_made_harmless(text: str) -> None:
    assert formats.harmless(text) == f"'{text}"
    assert formats.harmless(f"a{text}") == f"a{text}"


def test_a_duration_is_in_seconds_or_unknown() -> None:
    assert [formats.duration(ms) for ms in (0, 40, 1250, 3_600_000)] == ["–", "0.0 s", "1.2 s", "3,600.0 s"]  # noqa: RUF001
    assert formats.second(1_795_000_000_000, ZoneInfo("Asia/Kolkata")) == "2026-11-18 16:36:40"
    assert formats.plain_usd(1_000_000_001) == "1.000000001"
