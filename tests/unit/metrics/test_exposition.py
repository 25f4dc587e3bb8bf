"""A scrape: its format by negotiation, its parts that fail alone, and how new series appear."""

import gzip
import threading
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from prometheus_client import Counter as DirectCounter
from prometheus_client import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from exporter.errors import LedgerError
from exporter.metrics import credentials, exporter, periods, proxies, usage
from exporter.metrics.usage import LedgerText
from exporter.sources.proxy_status import ProxyStatus
from tests.stack.pages.reference import families_of
from tests.stack.waiting import PATIENCE_SECONDS
from tests.unit.metrics.conftest import PEOPLE, PROMETHEUS, Bench, account

TEXT = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"

PROMETHEUS_2 = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"  # noqa: E501 - as sent
PROMETHEUS_3 = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,text/plain;version=0.0.4;q=0.2,*/*;q=0.1"  # noqa: E501 - as sent
BROWSER = (
    "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8,application/signed-exchange;v=b3;q=0.7"
)


# --- negotiation ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("accept", "content_type", "sees_young_series_at"),
    [
        pytest.param(PROMETHEUS_2, OPENMETRICS, 0, id="Prometheus 2.42"),
        pytest.param(PROMETHEUS_3, OPENMETRICS, 0, id="Prometheus 3"),
        pytest.param(
            "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited,"
            + PROMETHEUS_3,
            OPENMETRICS,
            0,
            id="Prometheus with native histograms",
        ),
        pytest.param("text/plain;version=0.0.4;q=1,*/*;q=0.1", TEXT, 0, id="a server that knows the text format only"),
        pytest.param("text/plain;version=1.0.0;escaping=allow-utf-8,*/*;q=0.1", TEXT, 0, id="text format 1.0.0"),
        pytest.param("application/openmetrics-text; version=0.0.1, text/plain;q=0.5", TEXT, 0, id="old OpenMetrics"),
        pytest.param("application/openmetrics-text;version=2.0.0", TEXT, 0, id="a later OpenMetrics"),
        pytest.param("application/openmetrics-text", OPENMETRICS, 0, id="OpenMetrics of any version"),
        pytest.param("APPLICATION/OpenMetrics-Text; Version=1.0.0", OPENMETRICS, 0, id="capitals"),
        pytest.param('application/openmetrics-text; version="1.0.0"', OPENMETRICS, 0, id="a version in quotes"),
        pytest.param("application/openmetrics-text;q=0, text/plain;version=0.0.4", TEXT, 0, id="no OpenMetrics"),
        pytest.param("application/openmetrics-text;q=0, */*", TEXT, 1, id="a person who wants no OpenMetrics"),
        pytest.param("application/openmetrics-text;version=abc", TEXT, 0, id="a version that is none"),
        pytest.param("*/*", TEXT, 1, id="curl"),
        pytest.param(BROWSER, TEXT, 1, id="a browser"),
        pytest.param("", TEXT, 1, id="no header"),
        pytest.param(";,=;;version,\xff", TEXT, 1, id="garbage"),
    ],
)
def test_accept_chooses_the_format(bench: Bench, accept: str, content_type: str, sees_young_series_at: float) -> None:
    bench.book()
    scrape = bench.exposition.scrape(accept=accept, accept_encoding="", scraper="a")
    assert scrape.headers["Content-Type"] == content_type
    assert scrape.headers["Vary"] == "Accept, Accept-Encoding"
    text = scrape.body.decode()
    ends = [line for line in text.splitlines() if line == "# EOF"]
    assert ends == (["# EOF"] if content_type == OPENMETRICS else [])
    assert text.endswith("\n# EOF\n") == (content_type == OPENMETRICS)
    assert bench.requests(accept, answered=False) == sees_young_series_at


@pytest.mark.parametrize(
    ("accept_encoding", "compressed"),
    [
        ("gzip", True),
        ("gzip, deflate, br, zstd", True),
        ("deflate, GZIP;q=0.5", True),
        ("", False),
        ("identity", False),
        ("br", False),
        ("gzip;q=0", False),
        (";,=", False),
    ],
)
def test_accept_encoding_chooses_the_compression(bench: Bench, accept_encoding: str, compressed: bool) -> None:
    bench.book()
    plain = bench.exposition.scrape(accept=PEOPLE, accept_encoding="", scraper="a").body
    scrape = bench.exposition.scrape(accept=PEOPLE, accept_encoding=accept_encoding, scraper="a")
    assert (scrape.headers.get("Content-Encoding") == "gzip") == compressed
    assert (gzip.decompress(scrape.body) if compressed else scrape.body) == plain
    assert not compressed or len(scrape.body) < len(plain) / 3


@pytest.mark.parametrize(
    ("accept", "parse"), [(PEOPLE, parse_text), (PROMETHEUS, parse_openmetrics)], ids=["text", "OpenMetrics"]
)
def test_each_family_and_each_sample_appears_once(
    bench: Bench, accept: str, parse: Callable[[str], Iterable[Metric]]
) -> None:
    DirectCounter("cliproxy_exporter_polls", "Polls.", ["proxy"], registry=bench.registry).labels("p").inc()
    bench.list_accounts(account("a.json", auth_index="index-1", success=1, failed=2, status="active"))
    bench.book(latency_ms=1, ttft_ms=1)
    bench.book(code="500", unpriced="no_price")
    families = list(parse(bench.scrape(accept)))
    names = [family.name for family in families]
    assert len(names) == len(set(names))
    samples = [(each.name, tuple(sorted(each.labels.items()))) for family in families for each in family.samples]
    assert len(samples) == len(set(samples))
    assert {family.name for family in families_of(usage)} <= {name.removesuffix("_total") for name in names}


# --- parts that fail --------------------------------------------------------------------------------------------------


def _fail(*_: Any, **__: Any) -> Any:
    raise LedgerError("planted")


@pytest.mark.parametrize(
    ("part", "owner", "function", "lost", "kept"),
    [
        ("totals", LedgerText, "render", "cliproxy_requests_total", "cliproxy_period_requests"),
        ("periods", periods, "period_families", "cliproxy_period_requests", "cliproxy_requests_total"),
        ("proxies", proxies, "proxy_families", "cliproxy_proxy_state", "cliproxy_requests_total"),
        ("credentials", credentials, "credential_families", "cliproxy_credential_up", "cliproxy_credential_attempts"),
        ("attempts", credentials, "attempt_families", "cliproxy_credential_attempts", "cliproxy_credential_up"),
        ("flow", proxies, "flow_families", "cliproxy_exporter_records_booked", "cliproxy_requests_total"),
        ("ledger", exporter, "ledger_families", "cliproxy_exporter_ledger_bytes", "cliproxy_requests_total"),
        ("build", exporter, "build_families", "cliproxy_exporter_build_info", "cliproxy_requests_total"),
    ],
)
def test_a_part_that_fails_costs_only_its_own_families(
    *, bench: Bench, monkeypatch: pytest.MonkeyPatch, part: str, owner: object, function: str, lost: str, kept: str
) -> None:
    bench.list_accounts(account("a.json", success=1, failed=2, status="active"))
    bench.book()
    bench.ledger.periods.refresh()
    accounts = tuple((id_, account("a.json", status="active")) for id_ in bench.ledger.name_store.credentials)
    bench.statuses = [ProxyStatus(name="p", state="ok", accounts=accounts[:1])]
    whole = bench.scrape()
    assert f"\n{lost}" in f"\n{whole}"
    assert f'cliproxy_exporter_collector_success{{collector="{part}"}} 1.0\n' in whole
    monkeypatch.setattr(owner, function, _fail)
    for accept in (PEOPLE, PROMETHEUS):
        text = bench.scrape(accept)
        assert f"\n{lost}" not in f"\n{text}"
        assert f"\n{kept}" in f"\n{text}"
        failed = [line for line in text.splitlines() if "_collector_success{" in line and line.endswith(" 0.0")]
        assert failed == [f'cliproxy_exporter_collector_success{{collector="{part}"}} 0.0']


def test_young_series_of_a_part_that_failed_do_not_count_as_shown(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.list_accounts(account("a.json", success=1, failed=0))
    bench.list_accounts(account("a.json", success=1, failed=0), account("b.json", success=5, failed=0))
    bench.book()
    with monkeypatch.context() as broken:
        broken.setattr(LedgerText, "render", _fail)
        broken.setattr(credentials, "attempt_families", _fail)
        bench.scrape(PROMETHEUS)
    bench.clock.advance(60)
    assert bench.ledger.births.publish(after_seconds=60) == 0
    bench.scrape(PROMETHEUS)
    assert bench.ledger.births.publish(after_seconds=60) == len(_BORN_BY_ONE_RECORD) + 1


# --- while something is booked ------------------------------------------------------------------------------------


def test_scrapes_during_bookings_see_whole_steps(bench: Bench) -> None:
    """At every moment records add up, no counter falls, and a histogram's buckets belong together."""
    bench.ledger.measure()
    done, scraped = threading.Event(), threading.Semaphore(0)

    def book() -> None:
        try:
            for number in range(40):
                if number % 10 == 9:  # otherwise it may be over before the first scrape
                    assert scraped.acquire(timeout=PATIENCE_SECONDS)
                bench.book(times=3, client=f"client-{number % 9}", auth_index=f"index-{number % 5}", latency_ms=700)
        finally:
            done.set()

    thread = threading.Thread(target=book)
    thread.start()
    last: dict[tuple[str, str], float] = {}
    scrapes = 0
    while not done.is_set() or scrapes == 0:
        samples = [each for family in parse_text(bench.scrape()) for each in family.samples]
        values = {(each.name, str(sorted(each.labels.items()))): each.value for each in samples}
        counted = {key: value for key, value in values.items() if key[0].endswith(("_total", "_count", "_bucket"))}
        assert all(counted.get(key, 0) >= value for key, value in last.items())
        last = counted
        flow = {each.name: each.value for each in samples if each.name.startswith("cliproxy_exporter_records")}
        pending = flow["cliproxy_exporter_records_pending"]
        assert (
            flow["cliproxy_exporter_records_received_total"] == flow["cliproxy_exporter_records_booked_total"] + pending
        )
        durations = {each.name: each.value for each in samples if each.labels.get("le", "+Inf") == "+Inf"}
        name = "cliproxy_request_duration_seconds"
        assert durations.get(f"{name}_bucket") == durations.get(f"{name}_count")
        assert durations.get(f"{name}_sum", 0) == pytest.approx(durations.get(f"{name}_count", 0) * 0.7)
        scrapes += 1
        scraped.release()
    thread.join()
    assert bench.requests() == 120
    assert scrapes > 3


# --- births -----------------------------------------------------------------------------------------------------------

_BORN_BY_ONE_RECORD = ("requests and tokens", "cost")


def test_a_new_series_is_0_for_prometheus_until_it_was_scraped_and_a_minute_has_passed(bench: Bench) -> None:
    def reveal() -> None:
        bench.ledger.births.publish(after_seconds=60)

    bench.book(times=5)
    bench.clock.advance(3600)
    reveal()
    assert bench.requests(PROMETHEUS, answered=False) == 0, "an hour has passed, but nobody has been told"
    reveal()
    assert bench.requests(PROMETHEUS, answered=False) == 0, "that scrape did not arrive"
    assert bench.requests(PEOPLE) == 5, "people see the value, and count for nothing"
    reveal()
    assert bench.requests(PROMETHEUS) == 0, "this one arrives"
    reveal()
    assert bench.requests(PROMETHEUS) == 5
    bench.book(times=2)
    assert bench.requests(PROMETHEUS) == 7, "what is grown up rises at once"


def test_a_minute_passes_however_often_prometheus_scrapes(bench: Bench) -> None:
    bench.book(times=5)
    for _ in range(4):
        assert bench.requests(PROMETHEUS) == 0
        bench.clock.advance(14.9)
        assert bench.ledger.births.publish(after_seconds=60) == 0
    bench.book()
    bench.clock.advance(0.5)
    bench.ledger.births.publish(after_seconds=60)
    assert bench.requests(PROMETHEUS) == 6


def test_the_wall_clock_does_not_publish_a_series(bench: Bench) -> None:
    bench.book()
    bench.requests(PROMETHEUS)
    bench.clock.jump(86_400)
    assert bench.ledger.births.publish(after_seconds=60) == 0


def test_requests_of_unlisted_accounts_are_counted_until_a_list_names_them(bench: Bench) -> None:
    def unidentified() -> str:
        (line,) = [each for each in bench.scrape(PEOPLE).splitlines() if "unidentified_requests{" in each]
        return line.rpartition(" ")[2]

    assert unidentified() == "0.0"
    bench.book(times=3, auth_index="index-1")
    bench.book(times=2, auth_index="index-2")
    assert unidentified() == "5.0"
    bench.list_accounts(account("a.json", auth_index="index-1"))
    assert unidentified() == "2.0"


def test_every_kind_of_series_is_born_at_0(bench: Bench) -> None:
    bench.list_accounts(account("a.json", auth_index="index-1", success=4, failed=4))
    bench.list_accounts(
        account("a.json", auth_index="index-1", success=4, failed=4), account("b.json", success=7, failed=8)
    )
    bench.book(latency_ms=1000, ttft_ms=1000, nano_usd=10**9)
    bench.book(code="500", unpriced="no_price", nano_usd=10**9)

    def values(accept: str) -> dict[str, list[float]]:
        found: dict[str, list[float]] = {}
        for line in bench.scrape(accept).splitlines():
            if line.startswith("cliproxy_") and not line.startswith(("cliproxy_exporter", "cliproxy_proxy_")):
                name = line.partition("{")[0]
                found.setdefault(name, []).append(float(line.rpartition(" ")[2]))
        return found

    young, real = values(PROMETHEUS), values(PEOPLE)
    assert set(young) == set(real)
    attempts = "cliproxy_credential_attempts_total"
    assert sorted(young.pop(attempts)) == [0, 0, 4, 4], "the first inventory of a proxy is a start, not news"
    assert sorted(real.pop(attempts)) == [4, 4, 7, 8]
    assert not any(value for numbers in young.values() for value in numbers)
    shown = {family.sample_name for family in families_of(usage) if family.kind == "counter"}
    assert shown <= set(real)
    assert {"cliproxy_request_duration_seconds_sum", "cliproxy_time_to_first_token_seconds_count"} <= set(real)
    bench.clock.advance(60)
    bench.ledger.births.publish(after_seconds=60)
    assert values(PROMETHEUS) == values(PEOPLE)


def test_series_are_born_one_by_one(bench: Bench) -> None:
    bench.book(times=5)
    bench.requests(PROMETHEUS)
    bench.clock.advance(50)
    bench.book(times=3, client="another")
    bench.book(times=2, model="n")
    assert bench.requests(PROMETHEUS) == 0
    bench.clock.advance(10)
    bench.ledger.births.publish(after_seconds=60)
    assert bench.requests(PROMETHEUS) == 5, "one has grown up; the other of the same model is 10 s old"
    assert bench.requests(PROMETHEUS, model="n") == 0
    bench.clock.advance(50)
    bench.ledger.births.publish(after_seconds=60)
    assert (bench.requests(PROMETHEUS), bench.requests(PROMETHEUS, model="n")) == (8, 2)


def test_a_young_series_merged_into_an_older_one_rises_when_it_is_published(bench: Bench) -> None:
    bench.list_accounts(account("a.json", auth_index="old"))
    bench.book(times=3, auth_index="old")
    bench.requests(PROMETHEUS)
    bench.clock.advance(60)
    bench.ledger.births.publish(after_seconds=60)
    bench.book(times=2, auth_index="new")
    bench.list_accounts(account("a.json", auth_index="new"))
    assert (bench.requests(PROMETHEUS), bench.requests(PEOPLE)) == (3, 5)
    bench.clock.advance(60)
    bench.ledger.births.publish(after_seconds=60)
    assert bench.requests(PROMETHEUS) == 5


def test_a_restart_before_publishing_keeps_the_series_at_0_and_waits_again(bench: Bench) -> None:
    bench.book(times=5)
    bench.requests(PROMETHEUS)
    bench.clock.advance(59)
    bench.reopen()
    bench.clock.advance(3600)
    assert bench.ledger.births.publish(after_seconds=60) == 0
    assert bench.requests(PROMETHEUS) == 0
    bench.ledger.births.publish(after_seconds=60)
    assert bench.requests(PROMETHEUS) == 5


def test_a_restart_after_publishing_continues_at_the_value(bench: Bench) -> None:
    bench.book(times=5)
    bench.requests(PROMETHEUS)
    bench.clock.advance(60)
    bench.ledger.births.publish(after_seconds=60)
    bench.reopen()
    assert bench.requests(PROMETHEUS) == 5
    bench.book(times=2)
    assert bench.requests(PROMETHEUS) == 7


@pytest.mark.parametrize("crash", ["before the ledger knows", "after the ledger knows"])
def test_a_crash_while_publishing_never_shows_the_value_and_then_0(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, crash: str
) -> None:
    seen = []
    bench.book(times=5)
    seen.append(bench.requests(PROMETHEUS))
    bench.clock.advance(60)
    with monkeypatch.context() as broken:
        if crash == "before the ledger knows":
            broken.setattr(bench.ledger._database, "transaction", _fail)
        else:
            broken.setattr(bench.ledger.births, "show", _fail)
        with pytest.raises(LedgerError):
            bench.ledger.births.publish(after_seconds=60)
    seen.append(bench.requests(PROMETHEUS))
    assert seen == [0, 0], "what is not known to be on disk is not shown"
    bench.reopen()
    for _ in range(3):
        seen.append(bench.requests(PROMETHEUS))
        bench.clock.advance(60)
        bench.ledger.births.publish(after_seconds=60)
    assert seen == sorted(seen)
    assert seen[-1] == 5


def test_a_lost_ledger_starts_at_0_again(bench: Bench) -> None:
    bench.book(times=5)
    bench.requests(PROMETHEUS)
    bench.clock.advance(60)
    bench.ledger.births.publish(after_seconds=60)
    assert bench.requests(PROMETHEUS) == 5
    bench.ledger.close()
    for file in bench.path.parent.glob("ledger.sqlite3*"):
        file.unlink()
    bench.open()
    bench.book(times=9)
    assert bench.requests(PROMETHEUS) == 0, "a reset as Prometheus knows it: 5, 0, 9 is an increase of 9"
    bench.clock.advance(60)
    bench.ledger.births.publish(after_seconds=60)
    assert bench.requests(PROMETHEUS) == 9
