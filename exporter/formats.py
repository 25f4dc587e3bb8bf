"""Numbers and times as people read them, on pages and the command line."""

from datetime import UTC, datetime, tzinfo
from decimal import ROUND_HALF_EVEN, Decimal
from unicodedata import east_asian_width

from exporter.sentences import Sentence, say

_CENT, _HUNDREDTH_OF_A_CENT = Decimal("0.01"), Decimal("0.0001")


def usd(nano_usd: int | None) -> str:
    """Money: 2 decimals, 4 below a dollar; a dash if it is not known."""
    if nano_usd is None:
        return "\N{EN DASH}"
    if nano_usd == 0:
        return "$0.00"
    dollars = Decimal(nano_usd).scaleb(-9)
    fine = dollars.quantize(_HUNDREDTH_OF_A_CENT, ROUND_HALF_EVEN)
    if fine == 0:
        return "<$0.0001"
    if fine < 1:
        return f"${fine}"
    return f"${dollars.quantize(_CENT, ROUND_HALF_EVEN):,}"


def exact_usd(nano_usd: int) -> str:
    """Money to the last digit that is booked."""
    return f"{Decimal(nano_usd).scaleb(-9):,.9f} USD"


def plain_usd(nano_usd: int) -> str:
    """Money to the last digit that is booked, for programs. No float holds it exactly."""
    return f"{nano_usd // 10**9}.{nano_usd % 10**9:09d}"


def harmless(text: str) -> str:
    """The text in a form that no spreadsheet executes: a model may be named ``=cmd|…``."""
    return f"'{text}" if text.lstrip("'").startswith(("=", "+", "-", "@", "\t", "\r")) else text


def count(number: int) -> str:
    """A number with its thousands separated."""
    return f"{number:,}"


def short(number: int) -> str:
    """A large number in three or four digits: 950, 12.3k, 1.2M."""
    size = float(number)
    for unit in ("", "k", "M", "G"):
        rounded = f"{size:.0f}" if unit == "" else f"{size:.1f}"
        if float(rounded) < 1000:
            return rounded + unit
        size /= 1000
    return f"{size:,.1f}T"


def share(part: float | None) -> str:
    """A share in percent; a dash if there is nothing to take a share of."""
    if part is None:
        return "\N{EN DASH}"
    if part == 0:
        return "0%"
    return "<0.1%" if part < 0.001 else f"{part:.1%}"


def change(now: int, before: int) -> str:
    """How much more or less there is: ``+12%``; a dash where there was nothing before."""
    if not before:
        return "\N{EN DASH}"
    percent = round((now - before) / before * 100)
    if percent > 999:
        return ">+999%"
    return f"{percent:+d}%".replace("-", "\N{MINUS SIGN}") if percent else "±0%"


def moment(ms: float, zone: tzinfo) -> str:
    """A time in the user's zone, to the minute."""
    return datetime.fromtimestamp(ms / 1000, UTC).astimezone(zone).strftime("%Y-%m-%d %H:%M")


def second(ms: float, zone: tzinfo) -> str:
    """A time in the user's zone, to the second."""
    return datetime.fromtimestamp(ms / 1000, UTC).astimezone(zone).strftime("%Y-%m-%d %H:%M:%S")


def duration(ms: int) -> str:
    """How long a request took; a dash if unknown."""
    return f"{ms / 1000:,.1f} s" if ms else "\N{EN DASH}"


def since(seconds: float) -> Sentence:
    """How long ago something was, in one unit."""
    if seconds >= 86_400:
        return say("{number} d ago", number=int(seconds // 86_400))
    if seconds >= 3600:
        return say("{number} h ago", number=int(seconds // 3600))
    if seconds >= 60:
        return say("{number} min ago", number=int(seconds // 60))
    return say("{number} s ago", number=max(0, int(seconds)))


def until(seconds: float) -> Sentence:
    """The time until something, in two units: ``2 h 10 min``."""
    minutes = int(max(0.0, seconds) // 60)
    days, hours = divmod(minutes // 60, 24)
    minutes %= 60
    if days:
        return say("{days} d {hours} h", days=days, hours=hours) if hours else say("{days} d", days=days)
    if hours and minutes:
        return say("{hours} h {minutes} min", hours=hours, minutes=minutes)
    if hours:
        return say("{hours} h", hours=hours)
    return say("{minutes} min", minutes=minutes) if minutes else say("<1 min")


def span(seconds: float) -> Sentence:
    """A length of time: in seconds below ten minutes, then in two units."""
    return say("{number} s", number=int(seconds)) if seconds < 600 else until(seconds)


def times(factor: float | None) -> str:
    """A factor: ``1.3x``; a dash where there is none."""
    if factor is None:
        return "\N{EN DASH}"
    return ">99x" if factor > 99 else f"{factor:.1f}x"


def printable(text: str) -> str:
    """A text from outside, fit for a terminal and a comment: it can neither move the cursor nor end the line."""
    return "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in text)


def cut(name: str, longest: int = 48) -> str:
    """A name that fits into a table."""
    return name if len(name) <= longest else f"{name[: longest - 1]}…"


def width(text: str) -> int:
    """How many columns of a terminal a text takes: a Chinese character takes two."""
    return sum(2 if east_asian_width(each) in "WF" else 1 for each in text)
