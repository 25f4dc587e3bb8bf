"""A problem with a setting, which the loader collects and the command line prints.

A problem never holds a secret, not even part of one. Other values are shown only if they are short: a long one is
likely to be a secret in the wrong place.
"""

import difflib
from collections.abc import Iterable
from dataclasses import dataclass

from pydantic_core import PydanticCustomError

from exporter.errors import SettingsError
from exporter.sentences import counted, joined, say

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
        why = say("{setting} ({place}): {why}", setting=self.setting, place=self.place, why=self.why)
        return joined(why, self.fix)


class ProblemsError(SettingsError):
    """The settings, or a file that they name, have mistakes. The text has one problem a line."""

    def __init__(self, *problems: Problem) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = problems

    @property
    def first(self) -> str:
        """The first problem, and how many more there are: for a line of the log or of a page."""
        others = len(self.problems) - 1
        more = counted("There is {number} more problem.", "There are {number} more problems.", others)
        return joined(str(self.problems[0]), more if others else "")


def nearest(name: str, known: Iterable[str], *, alike: float = 0.6) -> str:
    """The known name that looks most like ``name``, or an empty text when none is at least this much ``alike``."""
    found = difflib.get_close_matches(name, list(known), n=1, cutoff=alike)
    return found[0] if found else ""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The question for a name that may be misspelt; empty if no known name looks like it."""
    guess = nearest(name, known)
    return say("Did you mean {name}?", name=guess) if guess else ""


def shown(value: str) -> str:
    """A value that is not a secret, quoted for a sentence, with control characters escaped."""
    if len(value) > _LONGEST_SHOWN_VALUE:
        return say("a text of {length} characters", length=len(value))
    return repr(value)


def wrong(why: str, fix: str, *at: str | int, **values: object) -> PydanticCustomError:
    """The error of a validator: why the value is wrong, and what to do; ``values`` fill both.

    ``at`` leads from the value to the part of it that is wrong, such as a field of a row.
    """
    said = {"why": say(why, **values), "fix": say(fix, **values)}
    return PydanticCustomError("setting", "{why} {fix}", {**said, "at": at})
