"""After the loss of the data directory, a new exporter restores what the old one knew from Supabase while it polls."""

import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from pydantic import SecretStr

from exporter.app import Exporter
from exporter.errors import HistoryAwayError
from exporter.history.restore import Restore
from exporter.history.sender import Ends
from exporter.history.supabase_client import Remote
from exporter.ledger.database import FILE_NAME
from exporter.ledger.ledger import Ledger
from exporter.ledger.shown_names import ShownNames
from exporter.limits.model import CONFIGURED, LimitWindow
from exporter.settings.model import Settings
from exporter.settings.proxies import Aliases, ClientAlias
from exporter.simulator.world import CLIENTS, MANAGEMENT_KEY
from exporter.wiring import Parts
from tests.benches.program import metrics_of, polls_of, running, settings_for
from tests.fakes.noon import NoonClock
from tests.fakes.steered.proxy import SteeredProxy
from tests.fakes.steered.server import SteeredServer
from tests.fakes.steered.snapshot import Details
from tests.fakes.steered.traffic import Traffic
from tests.stack.running import flow_in, ledger_file, metric_in
from tests.stack.supabase.api import SupabaseApi
from tests.stack.waiting import wait_until

_HOUR = 3600.0
_ALIAS = "alice-of-accounting"
_ALIASES = Aliases(clients=(ClientAlias(alias=_ALIAS, key=SecretStr(CLIENTS[0].key)),))
_CLIENTS_OF_ENTRIES = "select s.client, e.counted from entry e join series s on s.id = e.series"
_LIMITS = """
limits:
  - {id: day, strategy: daily, tokens: 60_000_000}
  - {id: week, strategy: weekly, tokens: 60_000_000}
  - {id: month, strategy: monthly, usd: 600}
  - {id: rolling, strategy: rolling, window_minutes: 20160, requests: 5000}
  - {id: session, strategy: session, window_minutes: 300, per: credential, tokens: 60_000_000}
  - {id: session-client, strategy: session, window_minutes: 480, per: client, requests: 1000}
  - {id: anchored, strategy: monthly, requests: 1000}
"""

Sums = Counter[tuple[Any, ...]]


class Site:
    """A demo proxy, a project, and the exporter between them, whose data directory can get lost."""

    def __init__(self, folder: Path, proxy: SteeredProxy, url: str, api: SupabaseApi) -> None:
        self.proxy = proxy
        self.api = api
        self.data_dir = folder / "data"
        self.published = 0
        self.before_first = 0
        self.more: dict[str, Any] = {}
        self._folder = folder
        self._url = url
        self._traffic = Traffic(seed=7, zone=proxy.zone, shape=proxy.shape)
        (folder / "limits.yaml").write_text(_LIMITS, encoding="utf-8")

    def publish(self, records: int, *, hours_ago: float = 0.0, span_hours: float = 0.1) -> None:
        ending = self.proxy.clock.now() - hours_ago * _HOUR
        self.proxy.publish(self._traffic.batch(records, ending=ending, span_seconds=span_hours * _HOUR))
        self.published += records

    def settings(self) -> Settings:
        settings = settings_for(
            self.data_dir,
            proxy_url=self._url,
            key=MANAGEMENT_KEY,
            supabase_url=self.api.url,
            supabase_secret_key=SecretStr(self.api.secret_key),
            exporter_limits_file=self._folder / "limits.yaml",
            aliases=_ALIASES,
        )
        return settings.model_copy(update=self.more)

    @contextmanager
    def exporter(self, *, polls: bool = True) -> Iterator[Exporter]:
        """An exporter that has polled once, unless ``polls`` says that the proxy is away."""
        with running(self.settings(), clock=self.proxy.clock) as exporter:
            if polls:
                self.polled(exporter, 1)
            yield exporter

    def polled(self, exporter: Exporter, times: float) -> None:
        wait_until(lambda: polls_of(exporter), lambda done: done >= times)

    def poll(self, exporter: Exporter) -> None:
        """Poll from begin to end; a poll that may be under way began too early to count."""
        for _ in range(2):
            before = polls_of(exporter)
            exporter.trigger()
            self.polled(exporter, before + 1)

    def sync(self, exporter: Exporter, *, state: str = "ok") -> None:
        """Wait until everything booked so far is in Supabase, or the history is in another state."""
        for _ in range(2 if state == "ok" else 1):  # a pass that may be under way began too early
            begun_ms = self.proxy.clock.now_ms()
            wait_until(partial(self._is_done, exporter, state, begun_ms))

    def _is_done(self, exporter: Exporter, state: str, begun_ms: int) -> bool:
        exporter.trigger()
        status = exporter.history_status()
        assert status is not None
        return status.state == state and (state != "ok" or (status.last_success_ms or 0) > begun_ms)

    def lose(self) -> None:
        shutil.rmtree(self.data_dir)

    def free_claim(self) -> None:
        """Pretend that a quarter of an hour has passed."""
        self.api.database.run("update exporter_proxies set seen_at = now() - interval '1 hour'")

    def give_back(self) -> None:
        """Give the name back, as users do who have lost everything."""
        self.api.database.run("update exporter_proxies set given_back = true")

    # --- what is where ------------------------------------------------------------------------------------------------

    def records(self) -> Sums:
        """Every record in Supabase."""
        rows = self.api.database.rows(
            "select (extract(epoch from ts) * 1000)::bigint as ts, fingerprint::text, provider, model, credential,"
            " client, requests, uncached + cache_read + cache_write + output + unclassified as tokens, nano_usd"
            " from usage_records"
        )
        return Counter(tuple(row.values()) for row in rows)

    def entries(self) -> Sums:
        """Every entry in the ledger."""
        with ledger_file(self.data_dir) as connection:
            return Counter(
                connection.execute(
                    "select e.ts_ms, cast(e.fingerprint as text), r.provider, r.model,"
                    " (select coalesce(i.label, c.label) from credential c left join credential i"
                    "  on i.id = c.merged_into where c.id = s.credential), k.label, e.counted,"
                    " e.uncached + e.cache_read + e.cache_write + e.output + e.unclassified, e.nano_usd"
                    " from entry e join series s on s.id = e.series join route r on r.id = s.route"
                    " join client k on k.id = s.client"
                ).fetchall()
            )

    def rollups(self) -> Sums:
        """The requests in the ledger's roll-up by bucket, model, credential and client."""
        with ledger_file(self.data_dir) as connection:
            rows = connection.execute(
                "select u.bucket, r.model, (select coalesce(i.label, c.label) from credential c left join credential i"
                "  on i.id = c.merged_into where c.id = s.credential), k.label, sum(u.requests), sum(u.nano_usd)"
                " from rollup u join series s on s.id = u.series join route r on r.id = s.route"
                " join client k on k.id = s.client group by 1, 2, 3, 4"
            ).fetchall()
        return Counter({tuple(row): 1 for row in rows})

    def remote_rollups(self) -> Sums:
        rows = self.api.database.rows(
            "select (extract(epoch from bucket) / 900)::bigint as bucket, model, credential, client,"
            " sum(requests) as requests, sum(nano_usd) as nano from usage_rollups group by 1, 2, 3, 4"
        )
        return Counter(tuple(row.values()) for row in rows)

    def days(self) -> int:
        total: int = self.api.database.value("(select sum(total_requests) from daily_stats)")
        return total

    def check(self, exporter: Exporter) -> None:
        """Check what holds after every restore, once everything is sent."""
        assert self.entries() == self.records()
        assert self.rollups() == self.remote_rollups()
        self.check_sums(exporter)

    def check_sums(self, exporter: Exporter) -> None:
        """Check the part of it that holds even if names have changed."""
        assert nameless(self.entries()) == nameless(self.records())
        requests = sum(row[6] for row in self.entries().elements())
        assert self.days() == requests
        assert flow_in(self.data_dir).adds_up
        assert_no_series_twice(metrics_of(exporter))

    def check_truth(self) -> None:
        """Check that each attempt of the proxy is there once; without details, check their number."""
        records = self.records()
        if self.proxy.details == "full":
            assert records.total() == self.published
        else:
            assert sum(row[6] for row in records.elements()) == self.published - self.before_first


def nameless(records: Sums) -> Sums:
    return Counter((row[:4] + row[6:]) for row in records.elements())


def windows(exporter: Exporter) -> dict[tuple[Any, ...], LimitWindow]:
    """The present windows, without what changes by itself."""
    exporter.parts.limits.refresh()
    exporter.parts.limits.refresh()
    found = exporter.parts.limits.current.windows
    return {
        each.labels: replace(each, observed_ms=0, start_ms=None if each.limit == "rolling" else each.start_ms)
        if each.kind == CONFIGURED
        else each
        for each in found
    }


def gauges(exporter: Exporter) -> dict[tuple[Any, ...], float]:
    """Cost, tokens and requests of the periods."""
    exporter.parts.ledger.periods.refresh()
    return {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(metrics_of(exporter))
        if family.name.startswith("cliproxy_period_")
        for sample in family.samples
    }


def assert_no_series_twice(metrics: str) -> None:
    series = [line.rpartition(" ")[0] for line in metrics.splitlines() if line and not line.startswith("#")]
    assert [name for name, number in Counter(series).items() if number > 1] == []


@pytest.fixture
def site(kind: str, tmp_path: Path, supabase_api: SupabaseApi) -> Iterator[Site]:
    with _site(kind, tmp_path, supabase_api) as made:
        yield made


@contextmanager
def _site(kind: str, folder: Path, api: SupabaseApi) -> Iterator[Site]:
    version = "v7.2.140" if kind == "queue" else "v6.9.49"
    proxy = SteeredProxy(key=MANAGEMENT_KEY, version=version, clock=NoonClock(), retention_seconds=3600)
    if kind == "counts":
        details: Details = "absent"
        proxy.details = details
    with SteeredServer(proxy) as server:
        yield Site(folder, proxy, server.url, api)


# --- all of it --------------------------------------------------------------------------------------------------------


def _fill(site: Site, exporter: Exporter) -> None:
    """Use the proxy for nine days, up to now; reset one limit in between."""
    site.publish(150, hours_ago=2, span_hours=24 * 9)
    site.poll(exporter)
    site.publish(50, hours_ago=1, span_hours=1.5)
    site.poll(exporter)
    exporter.parts.limits.refresh()
    assert exporter.parts.limits.reset("anchored") is not None
    site.publish(20)
    site.poll(exporter)
    site.sync(exporter)


@pytest.mark.parametrize(("kind", "retention_days"), [("queue", 1), ("details", 90), ("counts", 1)])
def test_everything_comes_back(site: Site, retention_days: int) -> None:
    with site.exporter() as first:
        _fill(site, first)
        windows_before, periods_before, names = windows(first), gauges(first), site.rollups()
        site.sync(first)  # the checkpoint has the sums of the windows
    known = site.records()
    limits = {limit for _, limit, *_ in windows_before}
    assert len(limits) == 7 if site.proxy.has_usage_snapshot else {"5h", "7d"} < limits

    site.lose()
    site.more["exporter_retention_days"] = retention_days
    with site.exporter() as second:
        site.sync(second, state="name_taken")
        site.poll(second)
        site.free_claim()
        site.sync(second)

        assert site.records() == known
        assert site.rollups() == names == site.remote_rollups()
        assert gauges(second) == periods_before
        assert windows(second) == windows_before
        assert not metric_in(metrics_of(second), "cliproxy_requests_total")
        assert metric_in(metrics_of(second), "cliproxy_exporter_ledger_entries") == site.entries().total()
        assert site.entries() <= known

        site.publish(30)
        site.poll(second)
        site.sync(second)
        site.check_truth()
        assert {row[2:6] for row in site.records() - known} & {row[2:6] for row in known}
        assert flow_in(site.data_dir).adds_up
        assert_no_series_twice(metrics_of(second))
        if retention_days == 90:
            site.check(second)


@pytest.mark.parametrize(("kind", "restarts"), [("details", True), ("counts", True), ("counts", False)])
def test_attempts_that_the_proxy_counted_while_no_exporter_ran_are_booked_once(site: Site, restarts: bool) -> None:
    with site.exporter() as first:
        site.publish(60)
        site.poll(first)
        site.sync(first)
    site.lose()
    if restarts:
        site.proxy.restart()
    site.publish(30)
    with site.exporter() as second:
        site.publish(20)
        site.poll(second)
        site.sync(second, state="name_taken")
        site.free_claim()
        site.sync(second)
        site.publish(10)
        site.poll(second)
        site.sync(second)

        site.check_truth()
        site.check(second)


@pytest.mark.parametrize("kind", ["queue", "details", "counts"])
def test_the_history_may_be_back_before_the_proxy(site: Site) -> None:
    with site.exporter() as first:
        site.publish(60)
        site.poll(first)
        site.sync(first)
    site.lose()
    site.free_claim()
    site.publish(30, span_hours=0.05)  # none of it is old enough to belong to the past
    site.proxy.fault(path="*", kind="status", status=503, times=None)
    with site.exporter(polls=False) as second:
        site.sync(second)
        assert site.entries() == site.records()
        assert not metric_in(metrics_of(second), "cliproxy_requests_total")
        site.proxy.clear_faults()
        site.poll(second)
        site.sync(second)

        site.check_truth()
        site.check(second)
        assert 25 <= (metric_in(metrics_of(second), "cliproxy_requests_total") or 0) <= 30, "it went on from there"


# --- without the documents --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["queue", "details", "counts"])
def test_a_lost_hash_key_renames_whatever_has_no_alias_and_doubles_nothing(site: Site) -> None:
    site.more["exporter_hash_key"] = None
    with site.exporter() as first:
        site.publish(80)
        site.poll(first)
        site.sync(first)
    old = {row[5] for row in site.records()}
    site.lose()
    with site.exporter() as second:
        site.poll(second)
        site.give_back()
        site.sync(second)
        site.publish(80)
        site.poll(second)
        site.sync(second)

        site.check_truth()
        site.check_sums(second)
        assert {row[4] for row in site.records()} == {row[4] for row in site.entries()}
        assert len({row[5] for row in site.records()}) > len(old), "the others have new names"
        attempts = sum(n for (client, *_), n in site.proxy.truth.attempts.items() if client == CLIENTS[0].name)
        shown_names = ShownNames(second.parts.ledger.name_store, _ALIASES, Parts(site.settings()).pseudonyms.of)
        with ledger_file(site.data_dir) as connection:
            entries = connection.execute(_CLIENTS_OF_ENTRIES).fetchall()
        aliased = [counted for client, counted in entries if shown_names.client(client) == _ALIAS]
        assert (sum(aliased) if site.proxy.details == "absent" else len(aliased)) == attempts


@pytest.mark.parametrize("kind", ["queue", "counts"])
def test_records_without_documents_come_back_under_their_names(site: Site) -> None:
    with site.exporter() as first:
        site.publish(80)
        site.poll(first)
        site.sync(first)
    site.lose()
    site.give_back()
    site.api.database.run("delete from exporter_checkpoints; delete from exporter_baselines")
    site.proxy.fault(path="*", kind="status", status=503, times=None)
    with site.exporter(polls=False) as second:
        site.sync(second)
        known = site.rollups()
        assert known == site.remote_rollups()
        site.proxy.clear_faults()
        site.poll(second)
        site.publish(40)
        site.poll(second)
        site.sync(second)

        site.check_truth()
        site.check(second)
        with ledger_file(site.data_dir) as connection:
            for table in ("client", "credential"):
                (twice,) = connection.execute(f"select count(*) - count(distinct label) from {table}").fetchone()
                assert twice == 0, table


@pytest.mark.parametrize("kind", ["queue"])
def test_a_document_of_another_shape_stops_the_restore_and_is_named(site: Site) -> None:
    with site.exporter() as first:
        site.publish(10)
        site.poll(first)
        site.sync(first)
    site.lose()
    site.free_claim()
    site.api.database.run("update exporter_checkpoints set value = '[1]' where kind = 'credentials'")
    with site.exporter() as second:
        site.sync(second, state="misconfigured")
        status = second.history_status()
        assert status is not None
        assert "The row credentials of default in exporter_checkpoints" in status.sentence
        site.poll(second)
        site.api.database.run("delete from exporter_checkpoints where kind = 'credentials'")
        site.sync(second)
        site.check_truth()


# --- cut, deleted -----------------------------------------------------------------------------------------------------


class _FailingRemote(Remote):
    """Answers ``left`` calls and then fails."""

    left = 0

    def _run(self, ask: Any) -> Any:
        self.left -= 1
        if self.left < 0:
            raise HistoryAwayError("planted", reason="unreachable")
        return super()._run(ask)


@pytest.mark.parametrize("kind", ["queue"])
def test_a_restore_that_is_cut_anywhere_continues_from_there(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    with site.exporter() as first:
        site.publish(60, hours_ago=30)  # more label sets in a bucket than a page has rows
        _fill(site, first)
    site.lose()
    for module in ("restore", "supabase_client"):
        monkeypatch.setattr(f"exporter.history.{module}.PAGE_ROWS", 5)
    remote = _FailingRemote(site.api.url, site.api.secret_key)
    clock = site.proxy.clock
    cuts = 0
    is_complete = False
    while not is_complete:
        # It opens the ledger again each time, as after a kill; a transaction is never left half done.
        ledger = Ledger(site.data_dir / FILE_NAME, clock=clock, zone=UTC)
        ledger.register("default")
        remote.left = 20 + cuts % 3  # more than it takes to see what is there
        shown_names = ShownNames(ledger.name_store, Aliases(), str)
        ends = Ends(remote=remote, ledger=ledger, shown_names=shown_names, pseudonym=str, clock=clock)
        with suppress(HistoryAwayError):
            list(Restore(ends, "default").steps(retention_ms=24 * 3_600_000, deleted_before=None))
            is_complete = True
        assert ledger.totals.entries == site.entries().total()
        ledger.close()
        cuts += 1
        assert cuts < 100
    assert cuts > 3
    assert site.rollups() == site.remote_rollups()
    assert 0 < site.entries().total() < site.records().total()
    assert site.entries() <= site.records()
    remote.close()


@pytest.mark.parametrize("kind", ["details"])
def test_the_roll_up_of_days_whose_records_were_deleted_comes_back(site: Site) -> None:
    with site.exporter() as first:
        _fill(site, first)
        periods_before = gauges(first)
        owner = site.api.database.value("(select owner from exporter_proxies)")
    day = datetime.fromtimestamp(site.proxy.clock.now() - 3 * 24 * _HOUR, UTC).date()
    site.api.database.call("exporter_prune", proxy="default", owner=owner, before=day.isoformat())
    known, rolled = site.records(), site.remote_rollups()
    site.lose()
    with site.exporter() as second:
        assert site.entries().total() == site.published, "read again from the snapshot"
        site.free_claim()
        site.sync(second)
        site.poll(second)
        site.sync(second)
        assert site.records() == known
        assert site.rollups() == site.remote_rollups() == rolled
        assert 0 < site.entries().total() <= known.total() < site.published
        assert gauges(second) == periods_before
        assert flow_in(site.data_dir).adds_up
