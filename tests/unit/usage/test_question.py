"""Valid questions about usage, and the messages about others."""

from datetime import UTC
from pathlib import Path

import pytest

from exporter.ledger.schema import BUCKET_MS
from exporter.usage.question import Question, Questions
from exporter.usage.ranges import QuestionError
from tests.benches.usage import usage_bench

_NOW = 1_795_000_000.0


@pytest.fixture
def questions(tmp_path: Path) -> Questions:
    return usage_bench(tmp_path, now=_NOW, zone=UTC).questions


def _read(questions: Questions, **parameters: str) -> Question:
    with questions.ledger.reading() as connection:
        return questions.read(connection, parameters, default_range="7d")


def test_a_missing_part_is_the_default_and_empty_fields_of_a_form_count_as_missing(questions: Questions) -> None:
    plain = _read(questions)

    assert (plain.range.name, plain.by, plain.filters) == ("7d", "model", {})
    assert _read(questions, range="", since="", until="", by="", model="", client="") == plain


def test_the_ledger_begins_with_its_oldest_quarter_of_an_hour(tmp_path: Path) -> None:
    bench = usage_bench(tmp_path, now=_NOW, zone=UTC)
    now_ms = int(_NOW * 1000)
    assert _read(bench.questions).oldest_ms == now_ms, "an empty one begins now"

    bench.book(bench.record(now_ms - 5_000_000), bench.record(now_ms - 9_000_000))
    assert _read(bench.questions).oldest_ms == (now_ms - 9_000_000) // BUCKET_MS * BUCKET_MS


def test_a_start_or_an_end_alone_is_a_range(questions: Questions) -> None:
    named = _read(questions, range="7d").range
    since, until = _read(questions, since="2026-11-01").range, _read(questions, until="2026-11-20").range

    assert (since.since_ms, since.until_ms) == (1_793_491_200_000, named.until_ms), "until the end of today"
    assert until.until_ms == 1_795_132_800_000


def test_filters_are_labels(questions: Questions) -> None:
    assert _read(questions, model="opus", proxy="p", by="day").filters == {"model": "opus", "proxy": "p"}


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"by": "colour"}, "Usage cannot be summed by 'colour': use one of model, client"),
        ({"modle": "opus"}, "no parameter 'modle': use one of range, since"),
        ({"range": "7d", "since": "2026-11-01"}, "not both"),
        ({"x" * 5000: "1"}, "no parameter"),
        ({"by": "x" * 5000}, "cannot be summed by"),
    ],
)
def test_a_question_that_makes_no_sense_is_refused_with_advice(
    questions: Questions, parameters: dict[str, str], words: str
) -> None:
    with pytest.raises(QuestionError, match=words) as refused:
        _read(questions, **parameters)
    assert len(str(refused.value)) < 200
