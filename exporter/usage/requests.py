"""The last failed and the dearest requests of a range, for page and links."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from exporter.ledger.labels import SeriesLabels
from exporter.ledger.views.usage import SingleRequest, read_requests
from exporter.usage.question import Question, Questions

DEFAULT_RANGE = "7d"
MOST = 25
"""Requests in each list."""


class Listed(NamedTuple):
    """A request with the shown labels of its series."""

    labels: SeriesLabels
    request: SingleRequest


def list_requests(
    questions: Questions, parameters: Mapping[str, str]
) -> tuple[Question, Sequence[Listed], Sequence[Listed]]:
    """The question, the last failed and the dearest requests that it is about; the latest and the dearest come first.

    Raises QuestionError and LedgerError.
    """
    with questions.ledger.reading() as connection:
        question = questions.read(connection, parameters, default_range=DEFAULT_RANGE)
        range_ = question.range
        found = read_requests(connection, question.groups, range_.since_ms, range_.until_ms, most=MOST)
    series = questions.ledger.dictionary.series
    failed, dearest = (
        [Listed(questions.labels.series(series[each.series].shown), each) for each in requests] for requests in found
    )
    return question, failed, dearest
