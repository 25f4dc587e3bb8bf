"""Our own text of the totals equals what prometheus_client writes for the same samples."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import pytest
from prometheus_client import CollectorRegistry, Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.openmetrics import exposition
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from exporter.metrics import usage
from exporter.metrics.usage import LedgerText
from exporter.records import Billing, Tokens
from tests.fakes.client_library import ClientLibrary
from tests.stack.pages.reference import families_of
from tests.unit.metrics.conftest import Bench, account, aliased

HOSTILE = [
    'quote " inside',
    "back\\slash",
    "back\\nslash-n that is no newline",
    "line\nbreak",
    "trailing backslash\\",
    '"},evil="1',
    "\u202eright to left",
    "emoji \U0001f9ff",
    "x" * 300,
    "",
    "# HELP cliproxy_requests_total",
]

Sample = tuple[str, tuple[tuple[str, str], ...], float]


def _openmetrics(registry: CollectorRegistry) -> bytes:
    text: bytes = exposition.generate_latest(registry)  # type: ignore[no-untyped-call] # it has no types
    return text


def _samples(families: Iterable[Metric]) -> Counter[Sample]:
    return Counter((s.name, tuple(sorted(s.labels.items())), s.value) for each in families for s in each.samples)


def _heads(families: Iterable[Metric]) -> list[tuple[str, str, str]]:
    return [(each.name, each.type, each.documentation) for each in families]


def _render(bench: Bench, *, open_metrics: bool = False) -> str:
    text = LedgerText(bench.ledger, bench.shown_names)
    return text.render(openmetrics=open_metrics, for_prometheus=False)[0]


def _book_a_bit_of_everything(bench: Bench) -> None:
    for number, name in enumerate(HOSTILE):
        bench.book(
            model=name,
            provider=f"{name}'s",
            client=name,
            auth_index=name,
            times=number + 1,
            nano_usd=10**number + 1,
            billing=Billing(number % 3),
            tokens=Tokens(uncached=5, cache_read=3, cache_write=2, output=7, reasoning=4, unclassified=number),
            latency_ms=(number + 1) * 499,
            ttft_ms=number * 120,
        )
        bench.book(model=name, code="429", auth_index=name, unpriced=name or "no_price")
    bench.book(latency_ms=600_001, ttft_ms=1)
    bench.book(latency_ms=500, ttft_ms=100)


FORMATS: list[tuple[bool, Callable[[CollectorRegistry], bytes], Callable[[str], Iterable[Metric]]]] = [
    (False, generate_latest, parse_text),
    (True, _openmetrics, parse_openmetrics),
]


@pytest.mark.parametrize(("open_metrics", "reference", "parse"), FORMATS, ids=["text", "OpenMetrics"])
def test_the_text_equals_prometheus_clients_sample_by_sample(
    bench: Bench,
    open_metrics: bool,
    reference: Callable[[CollectorRegistry], bytes],
    parse: Callable[[str], Iterable[Metric]],
) -> None:
    _book_a_bit_of_everything(bench)
    registry = CollectorRegistry(auto_describe=False)
    registry.register(ClientLibrary(bench.ledger, bench.shown_names))
    ours = list(parse(_render(bench, open_metrics=open_metrics) + ("# EOF\n" if open_metrics else "")))
    theirs = list(parse(reference(registry).decode()))
    assert _samples(ours) == _samples(theirs)
    assert _heads(ours) == _heads(theirs)
    assert max(_samples(ours).values()) == 1, "a sample is there twice"
    assert {dict(labels).get("model") for _, labels, _ in _samples(ours)} >= set(HOSTILE)


def test_help_and_type_are_the_lines_of_prometheus_client(bench: Bench) -> None:
    registry = CollectorRegistry(auto_describe=False)
    registry.register(ClientLibrary(bench.ledger, bench.shown_names))
    assert _render(bench) == generate_latest(registry).decode()
    assert _render(bench, open_metrics=True) + "# EOF\n" == _openmetrics(registry).decode()


def test_a_cost_is_exact_to_the_nano_dollar(bench: Bench) -> None:
    bench.book(nano_usd=9_000_000_001_000_000_001)
    assert '",basis="exact",billing="metered"} 9000000001.000000001\n' in _render(bench)


def test_two_credentials_with_one_shown_name_are_added_up(bench: Bench) -> None:
    bench.list_accounts(account("a.json", auth_index="old"))
    bench.book(auth_index="old", times=3, nano_usd=10**9, latency_ms=100)
    bench.book(auth_index="new", times=2, nano_usd=10**9, latency_ms=100, code="")
    bench.book(auth_index="new", code="500")
    bench.book(auth_index="old", code="500")
    bench.list_accounts(account("a.json", auth_index="new"))  # the same account after an upgrade of the proxy
    samples = _samples(parse_text(_render(bench)))
    assert max(samples.values()) == 1, "a sample is there twice"
    values = {name: value for name, labels, value in samples if ("le", "") not in labels}
    credentials = {dict(labels)["credential"] for _, labels, _ in samples if "credential" in dict(labels)}
    assert len(credentials) == 1
    assert values["cliproxy_requests_total"] == 7
    assert values["cliproxy_cost_usd_total"] == 5
    assert values["cliproxy_failed_requests_total"] == 2


def test_a_merge_takes_effect_at_the_next_scrape_of_the_same_renderer(bench: Bench) -> None:
    bench.list_accounts(account("a.json", auth_index="old"))
    bench.book(auth_index="old", times=3)
    bench.book(auth_index="new", times=2)
    text = LedgerText(bench.ledger, bench.shown_names)

    def requests() -> list[float]:
        families = parse_text(text.render(openmetrics=False, for_prometheus=False)[0])
        return [value for name, _, value in _samples(families) if name == "cliproxy_requests_total"]

    assert sorted(requests()) == [2, 3]
    bench.list_accounts(account("a.json", auth_index="new"))
    assert requests() == [5]
    bench.book(auth_index="new")
    bench.book(auth_index="third")
    assert sorted(requests()) == [1, 6]


def test_an_alias_comes_and_goes_without_splitting_a_total(bench: Bench) -> None:
    bench.book(times=2)
    assert 'credential="claude-inde",client="client-' in _render(bench)
    bench.reopen(aliased(client='The "team"', auth_index="main"))
    bench.book(times=3)
    line = 'credential="main",client="The \\"team\\""} 5\n'
    assert line in _render(bench)
    bench.reopen()
    assert 'credential="claude-inde",client="client-' in _render(bench)
    assert bench.requests() == 5


def test_an_alias_is_shown_from_the_first_record_on(bench: Bench) -> None:
    bench.reopen(aliased(client="late", file="later"))
    _render(bench)
    bench.book()
    assert 'client="late"} 1\n' in _render(bench)
    assert "later" not in _render(bench)
    bench.list_accounts(account("a.json", auth_index="index-1"))
    assert 'credential="later",client="late"} 1\n' in _render(bench)


def test_an_empty_ledger_shows_every_family_without_a_sample(bench: Bench) -> None:
    families = list(parse_text(_render(bench)))
    assert len(families) == len(families_of(usage))
    assert not _samples(families)


def test_a_scrape_that_waits_for_the_sums_shows_labels_of_what_was_booked_meanwhile(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    text, lock = LedgerText(bench.ledger, bench.shown_names), bench.ledger.totals.lock

    @contextmanager
    def awaited() -> Iterator[None]:
        monkeypatch.undo()
        with pytest.raises(OverflowError):
            bench.book(model="rolled-back", nano_usd=2**63)
        bench.book(model="booked", latency_ms=5)
        with lock:
            yield

    monkeypatch.setattr(bench.ledger.totals, "lock", awaited())
    shown = text.render(openmetrics=False, for_prometheus=False)[0]
    assert 'cliproxy_request_duration_seconds_count{proxy="p",provider="claude",model="booked"} 1\n' in shown
    assert "rolled-back" not in shown
