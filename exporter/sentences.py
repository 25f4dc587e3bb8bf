"""English texts that a page can say in another language.

The code, its logs, metrics and commands speak English, and a ``Sentence`` is that English text. It also keeps the
pattern that it was made from and the values in its placeholders, so ``exporter.web.rendering`` can make it anew from a
translated pattern. Names and figures are values, never a part of a pattern.
"""

from collections.abc import Callable, Iterable
from functools import reduce


class Sentence(str):
    """A text in English. ``many`` is the plural of ``pattern``, empty where there is none; ``number`` chooses."""

    __slots__ = ("many", "number", "pattern", "values")
    pattern: str
    values: dict[str, object]
    many: str
    number: int

    def __str__(self) -> str:
        return self  # so that the text of an error is still a Sentence


def say(text: str, /, **values: object) -> Sentence:
    """The text of a pattern, as ``str.format`` makes it; a text without values and a Sentence stay as they are."""
    if isinstance(text, Sentence):
        return text
    return _made(text.format(**values) if values else text, text, values)


def pattern(text: str) -> str:
    """The text itself, marked as a pattern to translate; it gets its values later."""
    return text


def counted(one: str, many: str, number: int, /, **values: object) -> Sentence:
    """The text of ``one`` or ``many``, whose ``{number}`` is ``number``."""
    values["number"] = number
    return _made((one if number == 1 else many).format(**values), one, values, many, number)


def joined(*sentences: str | None) -> str:
    """The sentences one after the other, without those that are empty."""
    return _chained(lambda first, second: say("{first} {second}", first=first, second=second), sentences)


def listed(*parts: str) -> str:
    """The parts with commas between them, without those that are empty."""
    return _chained(lambda first, second: say("{first}, {second}", first=first, second=second), parts)


def _chained(chain: Callable[[str, str], str], texts: Iterable[str | None]) -> str:
    given = [text for text in texts if text]
    return reduce(chain, given) if given else ""


def _made(text: str, pattern: str, values: dict[str, object], many: str = "", number: int = 0) -> Sentence:
    made = Sentence(text)
    made.pattern, made.values, made.many, made.number = pattern, values, many, number
    return made
