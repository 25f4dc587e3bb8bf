"""The page's figures: true to the ledger, equal to the gauges, and fast with thousands of series."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from flask import Flask

from exporter.ledger.database import FILE_NAME
from exporter.ledger.store.batches import Interpreted
from exporter.ledger.views.periods import MONTH, TODAY, YESTERDAY
from exporter.ledger.views.usage import Usage
from exporter.limits.board import LimitBoard
from exporter.normalize.batch import read_batch
from exporter.pricing.pricer import open_prices
from exporter.records import Basis, Billing
from exporter.sources.proxy_status import ProxyStatus
from exporter.web.rendering import add_filters
from exporter.web.status_page import StatusPage
from tests.benches.books import Books

_HOUR = 3600


@pytest.fixture
def books(tmp_path: Path) -> Books:
    return Books(tmp_path)


def _costs(usage: Usage) -> dict[int, int]:
    return {billing: amounts.nano_usd for billing, amounts in usage.items()}


def test_billings_are_never_added_up(books: Books) -> None:
    books.book(
        books.record(billing=Billing.METERED, nano_usd=1),
        books.record(billing=Billing.SUBSCRIPTION, nano_usd=20),
        books.record(billing=Billing.UNKNOWN, nano_usd=300),
    )
    figures = books.overview.figures()

    apart = {Billing.METERED: 1, Billing.SUBSCRIPTION: 20, Billing.UNKNOWN: 300}
    assert [_costs(figures.periods[period]) for period in (TODAY, MONTH)] == [apart, apart]
    assert [_costs(row.today) for row in figures.tables["model"] + figures.tables["client"]] == [apart, apart]
    assert [(row.name, sum(_costs(row.today).values())) for row in figures.tables["credential"]] == [
        ("claude-acco", 1),
        ("claude-accou", 20),
        ("claude-accoun", 300),
    ]


@pytest.mark.parametrize(
    ("costs", "billings"),
    [
        ({}, (Billing.METERED, Billing.SUBSCRIPTION)),
        ({Billing.METERED: 1}, (Billing.METERED,)),
        ({Billing.SUBSCRIPTION: 1}, (Billing.SUBSCRIPTION,)),
        ({Billing.SUBSCRIPTION: 1, Billing.METERED: 0}, (Billing.SUBSCRIPTION,)),
        ({Billing.METERED: 0}, (Billing.METERED,)),
        ({Billing.SUBSCRIPTION: 1, Billing.METERED: 1}, (Billing.METERED, Billing.SUBSCRIPTION)),
        ({Billing.METERED: 1, Billing.UNKNOWN: 1}, (Billing.METERED, Billing.UNKNOWN)),
    ],
)
def test_a_kind_of_billing_is_shown_only_if_it_is_used(
    books: Books, costs: dict[Billing, int], billings: tuple[Billing, ...]
) -> None:
    if costs:
        books.book(*(books.record(billing=billing, nano_usd=nano_usd) for billing, nano_usd in costs.items()))

    assert books.overview.figures().billings == billings


@pytest.mark.parametrize(
    ("hours_ago", "requests"),
    [
        pytest.param(0.1, (1, 0, 1), id="today"),
        pytest.param(11.9, (1, 0, 1), id="just after midnight"),
        pytest.param(12.1, (0, 1, 1), id="just before midnight"),
        pytest.param(37, (0, 0, 1), id="the day before yesterday"),
        pytest.param(24 * 24, (0, 0, 0), id="the month before"),
        pytest.param(-13, (0, 0, 1), id="tomorrow, by a clock that is ahead"),
        pytest.param(-24 * 24, (0, 0, 0), id="the month after"),
    ],
)
def test_a_late_record_counts_on_its_day(books: Books, hours_ago: float, requests: tuple[int, ...]) -> None:
    books.book(books.record(model="known"))
    books.overview.figures()

    books.book(books.record(model="late", hours_ago=hours_ago, code="429"))

    for overview in (books.overview, books.fresh()):
        figures = overview.figures()
        failed = tuple(figures.periods[period].total.failed for period in (TODAY, YESTERDAY, MONTH))
        assert failed == requests
        assert [row.name for row in figures.tables["client"]] == ["client-alice"]
        late = [row for row in figures.tables["model"] if row.name == "late"]
        rows = [(row.today.total.requests, row.month.total.requests) for row in late]
        assert rows == ([(requests[0], requests[2])] if requests[2] else [])


def test_midnight_moves_today_to_yesterday(books: Books) -> None:
    books.book(books.record(code="500"))
    books.overview.figures()

    books.clock.at += 12.5 * _HOUR
    books.ledger.periods.refresh()
    figures = books.overview.figures()

    assert [figures.periods[period].total.requests for period in (TODAY, YESTERDAY, MONTH)] == [0, 1, 1]
    assert [figures.periods[period].total.failed_share for period in (TODAY, YESTERDAY, MONTH)] == [None, 1.0, 1.0]


def test_the_error_share_is_of_requests_and_survives_a_restart(books: Books) -> None:
    books.book(books.record(), books.record(), books.record(), books.record(code="429"))
    books.overview.figures()
    books.book(books.record(code="other"), books.record(code="other", counted=False))

    for overview in (books.overview, books.fresh()):
        assert overview.figures().periods[TODAY].total.failed_share == 2 / 5
        assert overview.figures().tables["model"][0].today.total.failed_share == 2 / 5


def test_pruning_changes_no_figure(books: Books) -> None:
    books.book(books.record(hours_ago=60, code="429", unpriced="no_tier_price"), books.record())
    before = books.overview.figures()
    now_ms = int(books.clock.at * 1000)
    books.ledger.retention.prune(entries_before_ms=now_ms - 86_400_000, rejected_before_ms=0, stopping=lambda: False)

    assert books.fresh().figures() == before
    assert [before.periods[period].total.failed_share for period in (TODAY, MONTH)] == [0.0, 0.5]
    assert before.unpriced == {"m": 1}


def test_the_most_expensive_come_first_and_money_comes_before_value(books: Books) -> None:
    books.book(
        books.record(model="value", billing=Billing.SUBSCRIPTION, nano_usd=900),
        books.record(model="cheap", nano_usd=1),
        books.record(model="dear", nano_usd=2),
        books.record(model="free", nano_usd=0),
    )

    assert [row.name for row in books.overview.figures().tables["model"]] == ["dear", "cheap", "value", "free"]


def test_a_name_that_was_not_used_this_month_is_not_listed(books: Books) -> None:
    books.clock.at = datetime(2026, 12, 1, 12, tzinfo=UTC).timestamp()
    books.book(books.record(), books.record(model="old", client="gone", hours_ago=24))
    tables = books.overview.figures().tables

    assert [[row.name for row in tables[table]] for table in ("model", "client")] == [["m"], ["client-alice"]]


def test_an_account_is_listed_with_its_proxy_once_there_are_several(books: Books) -> None:
    def notes() -> list[str]:
        return [row.note for row in books.fresh().figures().tables["credential"]]

    books.book(books.record())
    assert notes() == [""]
    books.ledger.register("q")
    assert notes() == ["p"]


def test_folded_label_sets_are_one_row(tmp_path: Path) -> None:
    books = Books(tmp_path, max_label_sets=1)
    books.book(*[books.record(model=f"m{number}", client=f"c{number}", code="429") for number in range(4)])
    figures = books.overview.figures()

    rows = [(row.name, row.month.total) for row in figures.tables["model"]]
    assert [(name, total.requests, total.failed) for name, total in rows] == [
        ("other", 3, 3),
        ("m0", 1, 1),
    ]
    assert [row.name for row in figures.tables["client"]] == ["other", "client-c0"]


def test_the_last_day_is_drawn_in_quarters_of_an_hour(books: Books) -> None:
    books.book(books.record(hours_ago=23.6), books.record(), books.record(hours_ago=25))
    spark = books.overview.figures().spark

    assert {index: usage.total.requests for index, usage in enumerate(spark) if usage} == {0: 1, 95: 1}
    assert (len(spark), spark[95].cost(Billing.METERED)) == (96, 1_000_000_000)


def test_money_by_default_price_and_unpriced_requests_are_listed_by_model(books: Books) -> None:
    books.book(
        books.record(),
        books.record(model="guessed", basis=Basis.DEFAULT, nano_usd=7),
        books.record(model="tier", unpriced="no_tier_price", hours_ago=30),
        books.record(model="old", unpriced="no_tier_price", hours_ago=24 * 30),
    )
    figures = books.overview.figures()

    assert {model: _costs(usage) for model, usage in figures.by_default.items()} == {"guessed": {Billing.METERED: 7}}
    assert figures.unpriced == {"tier": 1}


def test_rejected_records_are_reported_until_they_are_tried_again(books: Books) -> None:
    books.book(books.record(), rejected=3)
    assert books.overview.figures().rejected == {"p": {"bad_timestamp": 3}}

    books.ledger.queue_rejected(reason=None, now_ms=int(books.clock.at * 1000))
    books.clock.at += 11

    assert books.overview.figures().rejected == {}


def test_totals_equal_the_gauges_even_during_a_booking(books: Books) -> None:
    books.book(books.record())
    batch = books.ledger.store(
        "p", read_batch(b"[{}]", pseudonym=lambda text: text), received_ms=int(books.clock.at * 1000)
    )
    assert batch is not None
    books.ledger.book(batch, Interpreted(records=[books.record(code="429")]))
    today = books.overview.figures().periods[TODAY].total

    assert today.requests == sum(each[TODAY].total.requests for each in books.ledger.periods.current.routes.values())
    assert today.failed_share == 0, "requests and failures are of one moment"
    books.ledger.periods.refresh()
    assert books.overview.figures().periods[TODAY].total.failed_share == 0.5


def _page(books: Books) -> tuple[Flask, StatusPage]:
    app = Flask("exporter.web.site")
    add_filters(app)
    page = StatusPage(
        overview=books.overview,
        statuses=lambda: [ProxyStatus(name="p", state="ok", sentence="It is read.")],
        limits=LimitBoard(ledger=books.ledger, shown_names=books.shown_names, clock=books.clock),
        prices=open_prices(file=None, feed_url=None, store=books.ledger.price_feed, clock=books.clock),
    )
    return app, page


def test_an_unreadable_ledger_costs_the_figures_and_not_the_page(books: Books, tmp_path: Path) -> None:
    file = tmp_path / FILE_NAME
    file.rename(tmp_path / "away")
    file.mkdir()
    app, page = _page(books)

    with app.test_request_context():
        text = page.answer().get_data(as_text=True)

    assert "The ledger cannot be read." in text
    assert "It is read." in text
    assert "Cost and use" not in text


def test_the_last_day_is_drawn_once_there_is_a_request(books: Books) -> None:
    app, page = _page(books)
    with app.test_request_context():
        assert "No requests." in page.answer().get_data(as_text=True)

    books.book(books.record(nano_usd=2 * 10**9), books.record(hours_ago=12))
    with app.test_request_context():
        text = page.answer().get_data(as_text=True)

    assert "No requests." not in text
    assert "Spent in each quarter of an hour of the last 24 hours: $3.00 in all, at most $2.00 in one." in text
    assert '<path d="M188 48v-24.0h3v24.0zM380 48v-48.0h3v48.0z" class="bars"/>' in text
    assert '<path d="M188 48v-48.0h3v48.0zM380 48v-48.0h3v48.0z" class="bars"/>' in text, "a single request is a bar"


@pytest.mark.parametrize(
    ("billings", "says"), [((Billing.UNKNOWN,), False), ((Billing.METERED, Billing.SUBSCRIPTION), True)]
)
def test_the_page_says_that_costs_are_never_added_up_only_if_there_are_several_kinds(
    books: Books, billings: tuple[Billing, ...], says: bool
) -> None:
    books.book(*(books.record(billing=billing, nano_usd=1) for billing in billings))
    app, page = _page(books)
    with app.test_request_context():
        text = page.answer().get_data(as_text=True)
    assert ("They are never added up." in text) is says
    assert "Days begin at midnight, " in text


def test_a_long_table_says_how_many_names_it_leaves_out(books: Books) -> None:
    books.book(*[books.record(model=f"model-{number}") for number in range(50)])
    app, page = _page(books)

    with app.test_request_context():
        assert b"30 more" in page.answer().data


def test_days_follow_the_zone(books: Books) -> None:
    at = datetime(2026, 11, 23, 23, 30, tzinfo=UTC)  # half past midnight of the 24th in Berlin
    books.book(books.record(hours_ago=(books.clock.at - at.timestamp()) / _HOUR))

    assert books.overview.figures().periods[TODAY].total.requests == 1
    assert f"{books.overview.figures().day}" == "2026-11-24"
