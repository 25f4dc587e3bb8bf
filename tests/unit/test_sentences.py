"""Sentences are plain English text, and hold what a page needs to translate them."""

import copy
import pickle

from exporter.errors import LedgerError
from exporter.sentences import Sentence, counted, joined, listed, pattern, say


def test_a_sentence_is_its_english_text() -> None:
    text = say("{name!r} has {size:,} bytes.", name="a{b}", size=1234)

    assert text == "'a{b}' has 1,234 bytes."
    assert f"{text}!" == "'a{b}' has 1,234 bytes.!"
    assert (text.pattern, text.values) == ("{name!r} has {size:,} bytes.", {"name": "a{b}", "size": 1234})


def test_a_number_chooses_between_one_and_many() -> None:
    texts = [counted("{number} record of {name}", "{number:,} records of {name}", n, name="x") for n in (0, 1, 2000)]

    assert texts == ["0 records of x", "1 record of x", "2,000 records of x"]


def test_parts_without_a_text_leave_no_gap() -> None:
    assert joined("", say("One."), None, "Two.", "") == "One. Two."
    assert listed("a", "", "b", "c") == "a, b, c"
    assert joined() == listed("") == ""
    assert joined("", text := say("One.")) is text


def test_a_pattern_gets_its_values_later() -> None:
    assert say(pattern("It failed ({code})."), code=7, unused="x") == "It failed (7)."


def test_the_text_of_an_error_is_a_sentence() -> None:
    sentence = say("The ledger {path} is full.", path="x")
    for error in (LedgerError(sentence), LedgerError("The ledger {path} is full.", path="x")):
        text = str(error)
        assert isinstance(text, Sentence)
        assert (text, text.values) == ("The ledger x is full.", {"path": "x"})


def test_a_text_without_values_is_not_a_pattern() -> None:
    assert str(LedgerError("It holds {odd} {braces")) == "It holds {odd} {braces"


def test_a_copy_is_a_sentence_too() -> None:
    text = counted("{number} record", "{number} records", 2)
    for again in (copy.deepcopy(text), pickle.loads(pickle.dumps(text))):  # noqa: S301 - our own
        assert (again, again.pattern, again.values) == (text, text.pattern, text.values)
