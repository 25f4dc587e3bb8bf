"""The demo proxy with cumulative statistics: it counts as the recorded servers do, and its truth is right."""

import json
from collections import Counter
from collections.abc import Iterable
from typing import Any

import pytest

from exporter.clock import Clock
from exporter.records import Tokens
from exporter.simulator.wire import Event
from exporter.simulator.world import CLIENTS, CREDENTIALS, Credential, Family
from tests.fakes.recordings import recorded
from tests.fakes.steered.proxy import SteeredProxy
from tests.fakes.steered.records import Shape, record_of, visible
from tests.fakes.steered.traffic import Attempt, Traffic
from tests.fakes.steered.truth import Truth, imported_attempt

NOW = 1795503600.0
_FAMILIES: dict[str, Family] = {"anthropic": "claude", "gemini": "gemini", "antigravity": "gemini"}


class _Clock(Clock):
    """A clock that only a test moves."""

    def __init__(self) -> None:
        self.passed = 0.0

    def now(self) -> float:
        return NOW + self.passed

    def monotonic(self) -> float:
        return self.passed


def _proxy(version: str = "v6.9.49", **settings: Any) -> SteeredProxy:
    return SteeredProxy(version=version, clock=_Clock(), **settings)


def _traffic(count: int, *, seed: int = 11, span: float = 600.0) -> list[Attempt]:
    return Traffic(seed=seed, zone=SteeredProxy().zone).batch(count, ending=NOW, span_seconds=span)


def _usage(proxy: SteeredProxy) -> dict[str, Any]:
    usage: dict[str, Any] = json.loads(proxy.usage_snapshot())["usage"]
    return usage


def _show(proxy: SteeredProxy) -> dict[str, Any]:
    """The statistics in an answer that arrives."""
    body, shown = proxy.shown_usage()
    proxy.delivered(shown)
    usage: dict[str, Any] = json.loads(body)["usage"]
    return usage


def _details(usage: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    return [
        (key, name, detail)
        for key, api in usage["apis"].items()
        for name, model in api["models"].items()
        for detail in model.get("details", [])
    ]


def _read_back(usage: dict[str, Any], proxy: SteeredProxy) -> Truth:
    """An exact reader's result from an answer, which the truth must equal."""
    by_index = {proxy.auth_index(each): each for each in CREDENTIALS}
    return Truth(
        imported_attempt(key, name, detail, by_index[detail["auth_index"]]) for key, name, detail in _details(usage)
    )


# --- as recorded ------------------------------------------------------------------------------------------------------


def _made_tokens(served: Iterable[dict[str, Any]]) -> Counter[str]:
    made: Counter[str] = Counter()
    for each in served:
        credential = next(
            own
            for own in CREDENTIALS
            if own.family == _FAMILIES.get(each["family"], "openai") and own.provider not in {"kimi", "xai"}
        )
        real = each["tokens"]
        event = Event(
            client=CLIENTS[0],
            credential=credential,
            model=each["model"],
            alias=each["alias"],
            started=each["time"],
            latency_ms=1,
            request_id="",
            tokens=Tokens(
                uncached=real["uncached"],
                cache_read=real["cache_read"],
                cache_write=real["cache_write"],
                output=real["output"] + real["reasoning"],
                reasoning=real["reasoning"],
            ),
        )
        made[json.dumps(record_of(event, shape="6.10", zone=SteeredProxy().zone)["tokens"])] += 1
    return made


def test_the_same_real_tokens_read_as_in_a_recorded_snapshot() -> None:
    truth = recorded("v6.9.49/usage/usage-1.truth.json")
    served = [each for each in truth["served"] if each["usage_sent"] and each["status"] == 200]
    usage = recorded("v6.9.49/usage/usage-1.json")["body"]["usage"]
    shown = Counter(json.dumps(detail["tokens"]) for _, _, detail in _details(usage) if not detail["failed"])

    assert served
    assert _made_tokens(served) == shown


def test_a_record_of_6_10_has_the_fields_of_the_recorded_ones() -> None:
    answer: str = recorded("v6.10.5/resp/pop.json")[1]["received"]
    twin = json.loads(answer.split("\r\n")[1])
    compat = next(each for each in _traffic(300) if each.credential == "openrouter-key")
    proxy = _proxy("v6.10.8")
    proxy.publish([compat])
    record = json.loads(proxy.pop(1)[0].raw)

    # v6.10.7 added the alias.
    assert [field for field in record if field != "alias"] == list(twin)
    assert list(record["tokens"]) == list(twin["tokens"])


@pytest.mark.parametrize("version", ["v6.9.49", "v6.6.96"])
def test_an_answer_has_the_recorded_fields_in_their_order(version: str) -> None:
    proxy = _proxy(version)
    proxy.publish(_traffic(200))
    made = json.loads(proxy.usage_snapshot())
    twin = recorded(f"{version}/usage/usage-2.json")["body"]

    def fields(body: dict[str, Any]) -> list[Any]:
        usage = body["usage"]
        api = next(iter(usage["apis"].values()))
        model = next(iter(api["models"].values()))
        detail = model["details"][0]
        return [list(each) for each in (body, usage, api, model, detail, detail["tokens"])]

    assert fields(made) == fields(twin)
    assert list(made["usage"]["apis"]) == sorted(made["usage"]["apis"]), "Go sorts the keys of its maps"


@pytest.mark.parametrize(
    ("version", "missing"),
    [
        ("v6.9.1", set()),
        ("v6.9.0", {"latency_ms"}),
        ("v6.3.55", {"latency_ms", "auth_index"}),
        ("v6.2.25", {"latency_ms", "auth_index", "failed"}),
        ("v6.2.6", {"latency_ms", "auth_index", "failed", "source"}),
    ],
)
def test_an_older_version_lacks_fields(version: str, missing: set[str]) -> None:
    proxy = _proxy(version)
    proxy.publish(_traffic(200))
    everything = {"timestamp", "latency_ms", "source", "auth_index", "tokens", "failed"}

    assert {frozenset(detail) for _, _, detail in _details(_usage(proxy))} == {frozenset(everything - missing)}


def test_before_6_2_26_failures_left_nothing_behind() -> None:
    proxy = _proxy("v6.2.25")
    proxy.publish(_traffic(300))
    usage = _usage(proxy)

    assert usage["failure_count"] == 0
    assert 0 < usage["total_requests"] == proxy.counts().counted == 300 - proxy.counts().discarded
    assert all(row["failed"] == 0 for row in proxy.truth.as_rows())


def test_before_6_6_56_handles_are_numbers_that_a_restart_changes() -> None:
    proxy = _proxy("v6.6.55")
    before = {proxy.auth_index(each) for each in CREDENTIALS}
    first = proxy.auth_index(CREDENTIALS[0])
    proxy.restart()

    assert before == set(range(1, len(CREDENTIALS) + 1))
    assert proxy.auth_index(CREDENTIALS[0]) != first


# --- truth ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["v6.9.49", "v6.6.96"])
def test_the_truth_is_what_an_exact_reader_finds(version: str) -> None:
    proxy = _proxy(version)
    proxy.publish(_traffic(2000, span=86400.0))
    usage = _show(proxy)
    read = _read_back(usage, proxy)

    assert usage["total_requests"] == 2000
    assert read.attempts == proxy.truth.attempts
    assert read.failed == proxy.truth.failed
    for key, tokens in proxy.truth.tokens.items():
        if key[1] != "openrouter-key":  # its upstream sometimes counts reasoning outside the output
            assert read.tokens[key] == tokens
    assert proxy.delivered_truth.tokens == proxy.truth.tokens


def test_writes_of_claude_look_like_reads_if_there_were_no_reads() -> None:
    credential = CREDENTIALS[0]

    def seen(**tokens: int) -> Tokens:
        event = Event(
            client=CLIENTS[0],
            credential=credential,
            model="m",
            alias="m",
            started=NOW,
            latency_ms=1,
            request_id="",
            tokens=Tokens(output=7, **tokens),
        )
        return visible(event, "6.10")

    assert seen(uncached=5, cache_write=90) == Tokens(uncached=5, cache_read=90, output=7)
    assert seen(uncached=5, cache_read=40, cache_write=90) == Tokens(uncached=5, cache_read=40, output=7)


def test_traffic_of_any_shape_is_recorded_in_the_versions_form() -> None:
    shapes: tuple[Shape, ...] = ("7.2", "7.1", "6.10")
    answers = []
    for shape in shapes:
        proxy = _proxy()
        proxy.publish(Traffic(seed=5, zone=proxy.zone, shape=shape).batch(100, ending=NOW))
        answers.append((_usage(proxy), proxy.truth.as_rows()))

    assert answers[0] == answers[1] == answers[2]


def test_a_model_of_a_configured_key_is_listed_under_its_alias_up_to_6_6() -> None:
    attempts = [each for each in _traffic(400) if each.credential in {"claude-key", "antigravity-erin"}]
    names = {}
    for version in ("v6.6.96", "v6.9.49"):
        proxy = _proxy(version)
        proxy.publish(attempts)
        names[version] = {name for _, name, _ in _details(_usage(proxy))}
        assert {key[2] for key in proxy.truth.tokens} == names[version]

    assert "claude-sonnet-latest" in names["v6.6.96"] - names["v6.9.49"]
    assert "claude-sonnet-4-5-20250929" in names["v6.9.49"] - names["v6.6.96"]
    assert "gemini-3-flash" in names["v6.6.96"] & names["v6.9.49"], "a prefix of an account is no alias"


def test_an_open_proxy_lists_routes_and_knows_no_client() -> None:
    proxy = _proxy()
    proxy.open_proxy = True
    proxy.publish(_traffic(300))
    usage = _usage(proxy)

    assert "POST /v1/messages" in usage["apis"]
    assert not any(client.key in json.dumps(usage) for client in CLIENTS)
    assert {key[0] for key in proxy.truth.tokens} == {""}


# --- restarts, imports, upgrades --------------------------------------------------------------------------------------


def test_a_restart_starts_at_zero_and_the_truth_continues() -> None:
    proxy = _proxy()
    proxy.publish(_traffic(100))
    proxy.restart()
    assert _usage(proxy)["total_requests"] == 0
    proxy.publish(_traffic(50, seed=12))

    assert _usage(proxy)["total_requests"] == 50
    assert sum(proxy.truth.attempts.values()) == 150
    assert proxy.counts().restarts == 1


def test_an_import_brings_back_what_a_restart_lost_once() -> None:
    proxy = _proxy()
    proxy.publish(_traffic(100))
    before, export = _usage(proxy), proxy.export_usage()
    truth = proxy.truth.as_rows()
    proxy.restart()
    first, again = proxy.import_usage(export), proxy.import_usage(export)
    count = before["total_requests"]

    assert _usage(proxy) == before
    assert first == {
        "added": count,
        "skipped": 0,
        "total_requests": count,
        "failed_requests": before["failure_count"],
    }
    assert (again["added"], again["skipped"], again["total_requests"]) == (0, count, count)
    assert proxy.truth.as_rows() == truth, "it had happened already"
    _show(proxy)
    assert proxy.delivered_truth.as_rows() == truth


def test_an_import_drops_twins_although_both_happened() -> None:
    proxy = _proxy()
    attempt = _traffic(1)[0]
    proxy.publish([attempt, attempt])
    assert _usage(proxy)["total_requests"] == 2
    export = proxy.export_usage()
    details = _details(export["usage"])
    assert details[0] == details[1]
    details[1][2]["latency_ms"] = 99  # not compared
    proxy.restart()
    answer = proxy.import_usage(export)

    assert (answer["added"], answer["skipped"]) == (1, 1)
    assert sum(proxy.truth.attempts.values()) == 2


def test_times_that_differ_by_a_nanosecond_do_not_make_twins() -> None:
    proxy = _proxy()
    proxy.publish(_traffic(1))
    export = json.loads(json.dumps(proxy.export_usage()))
    detail = _details(export["usage"])[0][2]
    detail["timestamp"] = "2026-11-24T23:00:00.123456789+08:00"
    proxy.import_usage(export)
    detail["timestamp"] = "2026-11-24T15:00:00.123456789Z"
    assert proxy.import_usage(export)["added"] == 0, "the same moment in another zone"
    detail["timestamp"] = "2026-11-24T15:00:00.123456788Z"
    assert proxy.import_usage(export)["added"] == 1


def test_an_export_of_another_server_is_added_to_the_truth() -> None:
    other, proxy = _proxy(), _proxy()
    other.publish(_traffic(200))
    proxy.publish(_traffic(100, seed=12))
    proxy.import_usage(other.export_usage())
    both = _read_back(_usage(proxy), proxy)

    assert proxy.truth.attempts == both.attempts
    assert proxy.truth.failed == both.failed


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (None, "invalid json"),
        ([], "invalid json"),
        ({"usage": []}, "invalid json"),
        ({"usage": {"apis": {"k": {"models": {"m": {"details": [{"timestamp": "soon"}]}}}}}}, "invalid json"),
        ({"version": 2, "usage": {}}, "unsupported version"),
    ],
)
def test_a_bad_import_changes_nothing(body: Any, words: str) -> None:
    proxy = _proxy()
    with pytest.raises(ValueError, match=words):
        proxy.import_usage(body)
    assert _usage(proxy)["total_requests"] == 0


def test_an_upgrade_forgets_the_statistics_and_has_a_queue() -> None:
    proxy = _proxy()
    proxy.publish(_traffic(100))
    old = {each.name: proxy.auth_index(each) for each in CREDENTIALS}
    proxy.upgrade("v7.2.140")
    proxy.publish(_traffic(60, seed=12))
    records = [json.loads(item.raw) for item in proxy.pop(100)]

    assert len(records) == 60
    assert all(record["accounting_version"] == 2 for record in records)
    assert not {record["auth_index"] for record in records} & set(old.values())
    assert sum(proxy.truth.attempts.values()) == 160
    proxy.upgrade("v6.9.49")
    proxy.publish(_traffic(10, seed=13))
    assert _usage(proxy)["total_requests"] == 10
    assert {each.name: proxy.auth_index(each) for each in CREDENTIALS} == old


# --- settings for tests -----------------------------------------------------------------------------------------------


def test_the_newest_details_stay_while_the_totals_grow() -> None:
    proxy = _proxy("v6.6.96")
    attempt = next(each for each in _traffic(50) if each.credential == "claude-alice")
    proxy.publish([attempt] * 1154)
    usage = _show(proxy)

    assert usage["total_requests"] == 1154
    assert len(_details(usage)) == 1000
    assert sum(proxy.delivered_truth.attempts.values()) == 1000, "154 were gone before anybody looked"
    proxy.details_cap = 5
    proxy.publish([attempt])
    usage = _usage(proxy)
    assert (usage["total_requests"], len(_details(usage))) == (1155, 5)


@pytest.mark.parametrize("variant", ["absent", "empty"])
def test_a_fork_answers_without_details(variant: Any) -> None:
    proxy = _proxy()
    proxy.publish(_traffic(100))
    full = _usage(proxy)
    proxy.details = variant
    stripped = _show(proxy)
    models = [model for api in stripped["apis"].values() for model in api["models"].values()]

    assert {frozenset(model) >= {"details"} for model in models} == {variant == "empty"}
    assert _details(stripped) == []
    assert {name: stripped[name] for name in stripped if name != "apis"} == {
        name: full[name] for name in full if name != "apis"
    }
    assert proxy.delivered_truth.attempts == proxy.truth.attempts


def test_details_can_come_in_another_order_each_time() -> None:
    proxy = _proxy()
    proxy.publish(_traffic(400))
    straight = _details(_usage(proxy))
    proxy.shuffle_details = True
    orders = [_details(_usage(proxy)) for _ in range(2)]

    def text(row: tuple[str, str, dict[str, Any]]) -> str:
        return json.dumps(row)

    assert orders[0] != orders[1] != straight
    for order in orders:
        assert sorted(order, key=text) == sorted(straight, key=text)


@pytest.mark.parametrize("hours", [5, -7])
def test_a_turned_clock_moves_only_new_timestamps(hours: int) -> None:
    straight, turned = _proxy(), _proxy()
    attempts = _traffic(40)
    for proxy in (straight, turned):
        proxy.publish(attempts[:20])
    before = _usage(turned)
    turned.turn_clock(hours)
    for proxy in (straight, turned):
        proxy.publish(attempts[20:])
    old = {json.dumps(detail) for _, _, detail in _details(before)}
    now = {json.dumps(detail) for _, _, detail in _details(_usage(turned))}

    assert old < now
    assert len(now - {json.dumps(detail) for _, _, detail in _details(_usage(straight))}) == len(now) - len(old)
    assert turned.truth.tokens == straight.truth.tokens


def test_without_statistics_counting_stops_and_the_figures_stay() -> None:
    proxy = _proxy()
    proxy.publish(_traffic(50))
    before = _usage(proxy)
    proxy.publishing = False
    proxy.publish(_traffic(50, seed=12))
    assert _usage(proxy) == before
    proxy.publishing = True
    proxy.publish(_traffic(10, seed=13))
    assert _usage(proxy)["total_requests"] == before["total_requests"] + 10


def test_a_fork_may_have_both_sources_or_none() -> None:
    for usage in (True, False):
        for queue in (True, False):
            proxy = _proxy("v7.2.140", with_usage=usage, with_queue=queue, shown_version="dev")
            proxy.publish(_traffic(20))
            assert proxy.counts().counted == (20 if usage else 0)
            assert sum(proxy.truth.attempts.values()) == 20
            assert proxy.has_http_queue is queue


def test_attempts_in_both_sources_are_delivered_once() -> None:
    proxy = _proxy("v7.2.140", with_usage=True, with_queue=True)
    proxy.publish(_traffic(20))
    proxy.delivered(proxy.pop(100))
    _show(proxy)

    assert proxy.delivered_truth.attempts == proxy.truth.attempts


def test_every_provider_except_the_new_ones_existed_in_6_9() -> None:
    old: tuple[Credential, ...] = _proxy().credentials
    assert {each.provider for each in CREDENTIALS} - {each.provider for each in old} == {"xai"}
