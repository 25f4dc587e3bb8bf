"""What is wrong with a setting: a value that the command line prints and the loader collects.

A problem never holds the value of a secret, not even a part of it. Values of other settings are shown only when they
are short, because a long one is likely to be a secret that went into the wrong place.
"""

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic_core import PydanticCustomError

from exporter.sentences import counted, joined

_LONGEST_SHOWN_VALUE = 32


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One thing that is wrong: which setting, where it was read, why it is wrong and what to do.

    ``why`` and ``fix`` are whole sentences; ``fix`` is empty when ``why`` says it all.
    """

    setting: str
    place: str
    why: str
    fix: str = ""

    def __str__(self) -> str:
        return f"{self.setting} ({self.place}): {self.why} {self.fix}".rstrip()


def first_of(problems: Sequence[Problem]) -> str:
    """The first problem, and how many more there are: for a line of the log or of a page."""
    others = len(problems) - 1
    more = counted("There is {number} more problem.", "There are {number} more problems.", others)
    return joined(str(problems[0]), more if others else "")


def nearest(name: str, known: Iterable[str]) -> str:
    """The known name that looks most like ``name``, or an empty text when none does."""
    found = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return found[0] if found else ""


def shown(value: str) -> str:
    """A value that is not a secret, quoted for a sentence, with control characters escaped."""
    if len(value) > _LONGEST_SHOWN_VALUE:
        return f"a text of {len(value)} characters"
    return repr(value)


def wrong(why: str, fix: str, *at: str | int) -> PydanticCustomError:
    """The error of a validator: why the value is wrong, and what to do.

    ``at`` leads from the value to the part of it that is wrong, such as a field of a row.
    """
    return PydanticCustomError("setting", "{why} {fix}", {"why": why, "fix": fix, "at": at})


def read_text(path: Path, *, setting: str) -> str:
    """The text of a file whose path ``setting`` gave, without byte order mark. Raises what ``wrong`` makes."""
    try:
        return path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise wrong("The file does not exist.", f"Create it, or correct the path in {setting}.") from None
    except UnicodeDecodeError:
        raise wrong("The file is not UTF-8 text.", "Save it as UTF-8.") from None
    except (OSError, ValueError) as error:
        cause = getattr(error, "strerror", None) or "not a path"
        raise wrong(f"The file cannot be read: {cause}.", "Let the exporter's user read it.") from None


def problem_of(context: Mapping[str, Any] | None, *, setting: str, place: str) -> Problem:
    """The problem that the context of an error made by ``wrong`` tells."""
    told = context or {}
    return Problem(setting=setting, place=place, why=told["why"], fix=told["fix"])
