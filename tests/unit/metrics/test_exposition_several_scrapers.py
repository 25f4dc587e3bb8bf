"""Several servers scrape one exporter, and each of them adds up the true increase."""

import random
from collections import defaultdict
from collections.abc import Callable, Mapping
from itertools import pairwise

import pytest
from prometheus_client.openmetrics import exposition as openmetrics_format

from exporter.ledger.views.scrapers import LATELY_SECONDS, MOST_SCRAPERS, scraper_id
from tests.unit.metrics.conftest import PEOPLE, PROMETHEUS, Bench

_BIRTH_SECONDS = 60
_HOUR = 3600


@pytest.fixture(autouse=True)
def _only_the_ledgers_series_are_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """The servers here read nothing else, and writing it thousands of times would take longer than everything else."""
    monkeypatch.setattr(openmetrics_format, "generate_latest", lambda _others: b"# EOF\n")


class _Server:
    """A Prometheus that keeps the values of each series and adds up as ``increase()`` does."""

    def __init__(self, bench: Bench, name: str, *, every: int, offset: int) -> None:
        self._bench = bench
        self._name = name
        self.every = every
        self.offset = offset
        self._samples: defaultdict[str, list[float]] = defaultdict(list)

    def scrape(self, *, arrives: bool = True) -> None:
        text = self._bench.scrape(PROMETHEUS, scraper=self._name, answered=arrives)
        for line in text.splitlines() if arrives else ():
            if line.startswith("cliproxy_requests_total{"):
                series, _, value = line.rpartition(" ")
                self._samples[series].append(float(value))

    def increase(self) -> float:
        return sum(
            after - before if after >= before else after
            for values in self._samples.values()
            for before, after in pairwise(values)
        )


def _live(
    bench: Bench, servers: list[_Server], *, at: Mapping[int, Callable[[], None]], late: Callable[[int], bool]
) -> int:
    """An hour of traffic with new models all the time, then a quiet half hour; returns the number of requests.

    ``at`` is what else happens in a second; ``late`` says in which seconds no answer arrives.
    """
    chance = random.Random(1)
    sent = 0
    for second in range(_HOUR + _HOUR // 2):
        if second in at:
            at[second]()
        if second < _HOUR and second > 300 and chance.random() < 0.05:
            times = chance.randrange(1, 40)
            bench.book(times=times, model=f"m{min(second // 60, chance.randrange(60))}")
            sent += times
        for server in servers:
            if second >= server.offset and (second - server.offset) % server.every == 0:
                server.scrape(arrives=not late(second))
        if second % 5 == 0:
            bench.ledger.births.publish(after_seconds=_BIRTH_SECONDS)
        bench.clock.advance(1)
    return sent


@pytest.mark.parametrize(
    "pair",
    [
        pytest.param(((15, 3), (120, 7)), id="a slow one"),
        pytest.param(((15, 3), (15, 11)), id="a pair of high availability"),
        pytest.param(((15, 3), (601, 7)), id="one that asks every ten minutes, a little late"),
        pytest.param(((15, 3), (120, 7), (300, 0)), id="three"),
    ],
)
@pytest.mark.parametrize("restart_at", [None, 1801], ids=["one life", "a restart"])
def test_each_server_adds_up_what_happened(
    bench: Bench, pair: tuple[tuple[int, int], ...], restart_at: int | None
) -> None:
    servers = [_Server(bench, f"{index}", every=every, offset=offset) for index, (every, offset) in enumerate(pair)]
    sent = _live(bench, servers, at={} if restart_at is None else {restart_at: bench.reopen}, late=lambda _: False)
    assert [server.increase() for server in servers] == [sent] * len(servers)


def test_answers_that_do_not_arrive_lose_nothing(bench: Bench) -> None:
    servers = [_Server(bench, "fast", every=15, offset=3), _Server(bench, "slow", every=120, offset=7)]
    sent = _live(bench, servers, at={}, late=lambda second: 1200 <= second < 1500)
    assert [server.increase() for server in servers] == [sent, sent]


def _reveal(bench: Bench) -> None:
    bench.ledger.births.publish(after_seconds=_BIRTH_SECONDS)


def test_a_series_stays_at_0_for_the_slowest_interval(bench: Bench) -> None:
    bench.scrape(PROMETHEUS, scraper="slow")
    bench.clock.advance(119)
    bench.book()
    bench.clock.advance(1)
    for scraper in ("slow", "fast"):
        bench.scrape(PROMETHEUS, scraper=scraper)
    bench.clock.advance(118)
    _reveal(bench)
    assert bench.requests(PROMETHEUS, answered=False) == 0, "119 s old, and the slow one asks every 120 s"
    bench.clock.advance(1)
    _reveal(bench)
    assert bench.requests(PROMETHEUS, answered=False) == 1


def test_a_slow_server_is_waited_for_after_a_restart_although_nothing_was_new_before(bench: Bench) -> None:
    for scraper in ("fast", "slow"):
        bench.scrape(PROMETHEUS, scraper=scraper)
    _reveal(bench)
    bench.reopen()
    bench.book()
    bench.scrape(PROMETHEUS, scraper="fast")
    bench.clock.advance(_BIRTH_SECONDS)
    _reveal(bench)
    assert bench.requests(PROMETHEUS, answered=False) == 0
    bench.scrape(PROMETHEUS, scraper="slow")
    _reveal(bench)
    assert bench.requests(PROMETHEUS, answered=False) == 1


def test_the_exporter_waits_ten_minutes_for_a_scraper_that_stopped(bench: Bench) -> None:
    bench.book()
    bench.scrape(PROMETHEUS, scraper="gone")
    bench.book(model="n")
    for _ in range(int(LATELY_SECONDS) // 15 - 1):
        bench.clock.advance(15)
        bench.scrape(PROMETHEUS, scraper="stays")
        _reveal(bench)
    assert bench.requests(PROMETHEUS, model="n", answered=False) == 0
    bench.clock.advance(15)
    _reveal(bench)
    assert bench.requests(PROMETHEUS, model="n", answered=False) == 1


def test_people_and_clients_that_take_no_answer_delay_nothing(bench: Bench) -> None:
    bench.book()
    bench.scrape(PROMETHEUS, scraper="good")
    bench.scrape(PROMETHEUS, scraper="hangs up", answered=False)
    bench.scrape(PEOPLE, scraper="a person")
    bench.book(model="n")
    bench.scrape(PROMETHEUS, scraper="hangs up", answered=False)
    bench.scrape(PROMETHEUS, scraper="good")
    bench.clock.advance(_BIRTH_SECONDS)
    _reveal(bench)
    assert bench.requests(PROMETHEUS, model="n", answered=False) == 1


def test_invented_scrapers_are_bounded_and_delay_by_ten_minutes_at_most(bench: Bench) -> None:
    bench.scrape(PROMETHEUS, scraper=scraper_id("10.0.0.1", "Prometheus/3.0"))
    for number in range(5 * MOST_SCRAPERS):
        bench.scrape(PROMETHEUS, scraper=scraper_id("10.0.0.2", "x" * 10_000 + str(number)))
    assert len(bench.ledger.births.scrapers.lately()) == MOST_SCRAPERS
    bench.book()
    for second in range(0, int(LATELY_SECONDS), 15):
        bench.scrape(PROMETHEUS, scraper=scraper_id("10.0.0.1", "Prometheus/3.0"))
        bench.scrape(PROMETHEUS, scraper=scraper_id("10.0.0.2", f"later {second}"))
        bench.clock.advance(15)
    _reveal(bench)
    assert bench.requests(PROMETHEUS, answered=False) == 1


def test_a_scraper_is_an_address_and_a_user_agent() -> None:
    ids = {scraper_id(*who) for who in (("10.0.0.1", "a"), ("10.0.0.2", "a"), ("10.0.0.1", "b"), ("10.0.0.1a", ""))}
    assert len(ids) == 4
    assert {len(id_) for id_ in ids} == {32}
    assert scraper_id("10.0.0.1", "\udcff" * 10) != scraper_id("10.0.0.1", "")
