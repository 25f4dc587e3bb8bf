"""The last failed and the dearest requests of a range, for page and links."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from exporter.ledger.labels import SeriesLabels
from exporter.ledger.views.requests import SingleRequest, read_requests
from exporter.ledger.views.usage import oldest_bucket
from exporter.usage.question import Question, Questions

DEFAULT_RANGE = "7d"
MOST = 25
"""Requests in each list."""


@dataclass(frozen=True, slots=True)
class Listed:
    """A request with the shown labels of its series."""

    labels: SeriesLabels
    request: SingleRequest


@dataclass(frozen=True, slots=True)
class RequestLists:
    """The answer; the latest failed and the dearest come first."""

    question: Question
    failed: Sequence[Listed]
    dearest: Sequence[Listed]


def list_requests(questions: Questions, parameters: Mapping[str, str]) -> RequestLists:
    """Find the requests that a question is about. Raises QuestionError and LedgerError."""
    with questions.ledger.reading() as connection:
        question = questions.read(parameters, oldest_bucket=oldest_bucket(connection), default_range=DEFAULT_RANGE)
        _, groups = questions.groups(question)
        range_ = question.range
        failed, dearest = read_requests(connection, range_.since_ms, range_.until_ms, groups, most=MOST)
    return RequestLists(question, _listed(questions, failed), _listed(questions, dearest))


def _listed(questions: Questions, requests: Sequence[SingleRequest]) -> list[Listed]:
    series = questions.ledger.dictionary.series
    return [Listed(questions.labels.series(series[each.series].shown), each) for each in requests]
