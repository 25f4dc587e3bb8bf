"""The key guard: how often a refused key is tried, whatever happens to the process and its clocks."""

import threading
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from exporter.errors import (
    BannedError,
    KeyRefusedError,
    LedgerFullError,
    ProxyError,
    ProxyServerError,
    ProxyUnreachableError,
)
from exporter.sources.auth_guard import KeyGuard, RefusedKey
from tests.fakes.guarding import KEY, MemoryRefusals, TurnableClock, keyed_hash, make_guard

HOUR = 3600.0
WAIT = 2.5 * HOUR


@pytest.fixture
def clock() -> TurnableClock:
    return TurnableClock()


@pytest.fixture
def store() -> MemoryRefusals:
    return MemoryRefusals()


def _begin(guard: KeyGuard) -> None:
    """A call whose end nobody learns, as in a crash."""
    guard.trying().__enter__()


def _accept(guard: KeyGuard) -> None:
    with guard.trying():
        guard.accepted()


def _fail(guard: KeyGuard, error: ProxyError) -> None:
    """A call that goes out and ends in ``error``."""
    gone_out = []

    def call() -> None:
        with guard.trying():
            gone_out.append(guard)
            raise error

    with pytest.raises(type(error)):
        call()
    assert gone_out


def _refuse(guard: KeyGuard) -> None:
    _fail(guard, KeyRefusedError())


def test_an_unknown_key_may_be_tried_and_an_accepted_one_stays_in_use(
    store: MemoryRefusals, clock: TurnableClock
) -> None:
    guard = make_guard(store=store, clock=clock)
    for _ in range(5):
        _accept(guard)
    assert guard.status() is None
    assert store.load() == ()


def test_a_refused_key_is_tried_again_once_after_150_minutes_and_three_times_in_all(
    store: MemoryRefusals, clock: TurnableClock
) -> None:
    guard = make_guard(store=store, clock=clock)
    _refuse(guard)
    for count in ("once", "2 times, last"):
        with pytest.raises(KeyRefusedError, match=rf"refused {count} at 2026-.*is tried again at 2026-"):
            _begin(guard)
        clock.advance(WAIT - 1)
        with pytest.raises(KeyRefusedError):
            _begin(guard)
        clock.advance(1)
        _refuse(guard)
    clock.advance(1000 * HOUR)
    with pytest.raises(KeyRefusedError, match=r"refused 3 times.* will not be tried again: set a new key"):
        _begin(guard)


def test_a_person_may_ask_for_a_try_at_once(store: MemoryRefusals, clock: TurnableClock) -> None:
    running = make_guard(store=store, clock=clock)
    _refuse(running)
    with pytest.raises(KeyRefusedError, match="If it was corrected in CPA, the command cliproxy-exporter try-key"):
        _begin(running)
    command = make_guard(store=store, clock=clock)
    command.ask()
    _accept(command)
    _accept(running)  # continues by itself
    assert running.status() is None


def test_asking_allows_one_try_which_counts(store: MemoryRefusals, clock: TurnableClock) -> None:
    guard = make_guard(store=store, clock=clock)
    _refuse(guard)
    for count in ("2 times", "3 times"):
        guard.ask()
        _refuse(guard)
        with pytest.raises(KeyRefusedError, match=f"refused {count}"):
            _begin(guard)
    guard.ask()
    with pytest.raises(KeyRefusedError, match=r"If it was corrected .* tries it once, from 2026-"):
        _begin(guard)


def test_a_key_that_was_given_up_has_one_try_on_request_after_each_rest(
    store: MemoryRefusals, clock: TurnableClock
) -> None:
    guard = make_guard(store=store, clock=clock)
    _refuse(guard)
    for _ in range(2):
        guard.ask()
        _refuse(guard)
    for _ in range(3):
        clock.advance(WAIT)
        with pytest.raises(KeyRefusedError, match=r"not be tried again.* tries it once\."):
            _begin(make_guard(store=store, clock=clock))
        asking = make_guard(store=store, clock=clock)
        asking.ask()
        _refuse(asking)
        asking.ask()
        with pytest.raises(KeyRefusedError):
            _begin(asking)


def test_a_requested_try_waits_for_a_ban(store: MemoryRefusals, clock: TurnableClock) -> None:
    guard = make_guard(store=store, clock=clock)
    _fail(guard, BannedError("", retry_after_seconds=1800))
    guard.ask()
    with pytest.raises(BannedError):
        _begin(guard)


def test_a_refusal_outlives_the_process(store: MemoryRefusals, clock: TurnableClock) -> None:
    _refuse(make_guard(store=store, clock=clock))
    clock.advance(HOUR)
    clock.reboot(3.0)
    after_restart = make_guard(store=store, clock=clock)
    assert "once" in str(after_restart.status())
    with pytest.raises(KeyRefusedError):
        _begin(after_restart)
    clock.advance(1.5 * HOUR)
    _begin(after_restart)


def test_two_processes_share_one_try(store: MemoryRefusals, clock: TurnableClock) -> None:
    running = make_guard(store=store, clock=clock)
    _refuse(running)
    clock.advance(WAIT)
    _refuse(make_guard(store=store, clock=clock))
    with pytest.raises(KeyRefusedError, match="2 times"):
        _begin(running)


def test_a_success_clears_the_refusal(store: MemoryRefusals, clock: TurnableClock) -> None:
    guard = make_guard(store=store, clock=clock)
    _refuse(guard)
    clock.advance(WAIT)
    _accept(guard)
    assert guard.status() is None
    _refuse(guard)
    with pytest.raises(KeyRefusedError, match="once"):
        _begin(guard)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"key": "another-key"}, id="another key starts afresh"),
        pytest.param({"url": "http://elsewhere.example:8317"}, id="another URL starts afresh"),
    ],
)
def test_a_key_that_changes_and_returns_is_still_refused(
    store: MemoryRefusals, clock: TurnableClock, change: dict[str, Any]
) -> None:
    _refuse(make_guard(store=store, clock=clock))
    other = make_guard(store=store, clock=clock, **change)
    _accept(other)
    with pytest.raises(KeyRefusedError, match="once"):
        _begin(make_guard(store=store, clock=clock))  # the first one is still remembered


@pytest.mark.parametrize(
    "jump",
    [
        pytest.param(+48 * HOUR, id="set forward"),
        pytest.param(-48 * HOUR, id="set back"),
        pytest.param(0, id="left alone"),
    ],
)
def test_setting_the_wall_clock_brings_no_earlier_try(store: MemoryRefusals, clock: TurnableClock, jump: float) -> None:
    guard = make_guard(store=store, clock=clock)
    _refuse(guard)
    clock.jump(jump)
    with pytest.raises(KeyRefusedError):
        _begin(guard)
    restarted = make_guard(store=store, clock=clock)
    clock.advance(WAIT - 60)
    with pytest.raises(KeyRefusedError):
        _begin(restarted)
    clock.advance(60)
    _begin(restarted)


def test_a_stored_time_in_the_future_counts_as_now(store: MemoryRefusals, clock: TurnableClock) -> None:
    _refuse(make_guard(store=store, clock=clock))
    clock.jump(-1000 * HOUR)  # while no exporter runs
    guard = make_guard(store=store, clock=clock)
    with pytest.raises(KeyRefusedError):
        _begin(guard)
    clock.advance(WAIT)
    _begin(guard)


@pytest.mark.parametrize("restart", [False, True], ids=["in one process", "over a restart"])
def test_a_stated_waiting_time_is_obeyed(store: MemoryRefusals, clock: TurnableClock, restart: bool) -> None:
    guard = make_guard(store=store, clock=clock)
    _fail(guard, BannedError("", retry_after_seconds=1798))
    if restart:
        guard = make_guard(store=store, clock=clock)
    with pytest.raises(BannedError, match="banned this address") as refusal:
        _begin(guard)
    assert refusal.value.retry_after_seconds == pytest.approx(1803)
    clock.advance(1801)
    with pytest.raises(BannedError):
        _begin(guard)
    clock.advance(3)
    _accept(guard)
    assert guard.status() is None


@pytest.mark.parametrize("jump", [+48 * HOUR, -48 * HOUR], ids=["forward", "back"])
def test_a_ban_lasts_its_time_even_if_the_clock_is_set(
    store: MemoryRefusals, clock: TurnableClock, jump: float
) -> None:
    guard = make_guard(store=store, clock=clock)
    _fail(guard, BannedError("", retry_after_seconds=1800))
    clock.jump(jump)
    with pytest.raises(BannedError):
        _begin(guard)
    restarted = make_guard(store=store, clock=clock)
    with pytest.raises(BannedError) as refusal:
        _begin(restarted)
    assert refusal.value.retry_after_seconds == pytest.approx(1805, abs=0.2)


def test_a_ban_uses_up_no_try(store: MemoryRefusals, clock: TurnableClock) -> None:
    guard = make_guard(store=store, clock=clock)
    _refuse(guard)
    clock.advance(WAIT)
    _fail(guard, BannedError("", retry_after_seconds=1800))
    clock.advance(1806)
    _fail(guard, KeyRefusedError())
    assert "2 times" in str(guard.status())


def test_a_repeated_try_that_did_not_arrive_may_be_repeated(store: MemoryRefusals, clock: TurnableClock) -> None:
    guard = make_guard(store=store, clock=clock)
    _refuse(guard)
    clock.advance(WAIT)
    for _ in range(5):
        _fail(guard, ProxyUnreachableError())
    assert "once" in str(guard.status())


def test_a_repeated_try_with_a_lost_answer_counts(store: MemoryRefusals, clock: TurnableClock) -> None:
    guard = make_guard(store=store, clock=clock)
    _refuse(guard)
    clock.advance(WAIT)
    _fail(guard, ProxyServerError())
    with pytest.raises(KeyRefusedError, match="2 times"):
        _begin(guard)


def test_a_refusal_that_cannot_be_stored_still_stops_this_process(store: MemoryRefusals, clock: TurnableClock) -> None:
    guard = make_guard(store=store, clock=clock)
    store.fail = LedgerFullError("The disk is full.")
    with pytest.raises(LedgerFullError), guard.trying():
        raise KeyRefusedError
    with pytest.raises(LedgerFullError):
        _begin(guard)
    store.fail = None
    with pytest.raises(KeyRefusedError):
        _begin(guard)
    assert store.load() != ()


def test_an_unexpected_error_does_not_keep_the_servers_other_proxies_waiting(
    store: MemoryRefusals, monkeypatch: pytest.MonkeyPatch
) -> None:
    turn = threading.Lock()
    monkeypatch.setattr(store, "turn", lambda _fingerprint: turn)
    with pytest.raises(ZeroDivisionError), make_guard(store=store).trying():
        raise ZeroDivisionError
    assert not turn.locked()


def test_neither_store_nor_sentence_contains_the_key(store: MemoryRefusals, clock: TurnableClock) -> None:
    guard = make_guard(store=store, clock=clock)
    _refuse(guard)
    assert KEY not in str(store.load())
    assert KEY not in str(guard.status())


class _CrashError(BaseException):
    """The end of the process."""


class WrongKeys(RuleBasedStateMachine):
    """A proxy that accepts none of the keys, and an exporter with a hard life.

    Real time is counted apart from both clocks. The wall clock is set only while the exporter runs, and forward only
    while no other key is remembered, because nobody can tell the age of anything after an unseen change of the
    clock.
    """

    @initialize()
    def start(self) -> None:
        self.real = 0.0
        self.clock = TurnableClock()
        self.store = MemoryRefusals()
        self.key = "key-0"
        self.tries: dict[str, list[float]] = {}
        self.guard = make_guard(store=self.store, clock=self.clock, key=self.key)

    def _poll(self, outcome: str) -> None:
        try:
            with self.guard.trying():
                self._call(outcome)
        except (KeyRefusedError, BannedError, ProxyServerError, ProxyUnreachableError):
            pass
        except _CrashError:
            self._restart(11.0)

    def _call(self, outcome: str) -> None:
        if outcome == "unreachable":
            raise ProxyUnreachableError
        if outcome == "banned":
            raise BannedError("", retry_after_seconds=1800)
        if outcome == "refused":
            self.tries.setdefault(self.key, []).append(self.real)
            raise KeyRefusedError
        if self.key in self.tries:  # the answer, or the exporter, was lost after the proxy had counted the try
            self.tries[self.key].append(self.real)
            raise ProxyServerError if outcome == "lost answer" else _CrashError

    def _restart(self, monotonic: float) -> None:
        self.clock.reboot(monotonic)
        self.guard = make_guard(store=self.store, clock=self.clock, key=self.key)

    outcomes = st.sampled_from(["refused", "refused", "unreachable", "banned", "lost answer", "crash"])

    @rule(seconds=st.sampled_from([1, 15, 600, 1800, 3600, 8999, 9000, 20_000]), outcome=outcomes)
    def time_passes(self, seconds: int, outcome: str) -> None:
        self.real += seconds
        self.clock.advance(seconds)
        self._poll(outcome)

    @rule(seconds=st.integers(1, 10_000_000), outcome=outcomes)
    def clock_set_back(self, seconds: int, outcome: str) -> None:
        self.clock.jump(-seconds)
        self._poll(outcome)

    @precondition(lambda self: set(self.tries) <= {self.key})
    @rule(seconds=st.integers(1, 10_000_000), outcome=outcomes)
    def clock_set_forward(self, seconds: int, outcome: str) -> None:
        self.clock.jump(seconds)
        self._poll(outcome)

    @rule(monotonic=st.integers(0, 10_000_000), outcome=outcomes)
    def restart(self, monotonic: int, outcome: str) -> None:
        self._restart(monotonic)
        self._poll(outcome)

    @rule(key=st.sampled_from(["key-0", "key-1", "key-2"]), outcome=outcomes)
    def another_key(self, key: str, outcome: str) -> None:
        self.key = key
        self._restart(77.0)
        self._poll(outcome)

    @invariant()
    def each_key_is_tried_seldom(self) -> None:
        for tries in getattr(self, "tries", {}).values():
            assert len(tries) <= 3
            assert all(later - earlier >= WAIT - 1 for earlier, later in pairwise(tries))


WrongKeys.TestCase.settings = settings(max_examples=150, stateful_step_count=40)
test_no_life_of_the_exporter_makes_it_try_a_wrong_key_often = WrongKeys.TestCase


def _at(url: str, store: MemoryRefusals, clock: TurnableClock, *addresses: str) -> KeyGuard:
    return make_guard(store=store, clock=clock, url=url, addresses=addresses)


@pytest.mark.parametrize(
    ("url", "addresses"),
    [
        ("http://127.0.0.1:8317", ()),
        ("http://127.0.0.1:8317/", ()),
        ("http://[::1]:8317", ()),
        ("HTTP://LOCALHOST:8317", ("::1", "127.0.0.1")),
        ("http://localhost.:8317", ()),
        ("http://[::ffff:127.0.0.1]:8317", ()),
        ("http://my-machine:8317", ("127.0.1.1",)),
    ],
)
def test_a_key_that_loopback_refused_is_refused_under_each_of_its_names(
    store: MemoryRefusals, clock: TurnableClock, url: str, addresses: tuple[str, ...]
) -> None:
    _refuse(_at("http://localhost:8317", store, clock))
    with pytest.raises(KeyRefusedError, match="once"):
        _begin(_at(url, store, clock, *addresses))
    _begin(_at("http://localhost:8318", store, clock))


def test_a_host_name_means_each_of_its_addresses_and_itself_when_they_change(
    store: MemoryRefusals, clock: TurnableClock
) -> None:
    _refuse(_at("https://cpa.example/base/", store, clock, "192.0.2.1", "192.0.2.2"))
    for url, addresses in (
        ("https://192.0.2.2:443/base", ()),
        ("https://other.example/base", ("192.0.2.1", "192.0.2.9")),
        ("https://CPA.example./base", ("192.0.2.77",)),
        ("https://cpa.example:443/base", ()),  # it cannot be resolved now
    ):
        with pytest.raises(KeyRefusedError, match="once"):
            _begin(_at(url, store, clock, *addresses))
    _begin(_at("https://192.0.2.3/base", store, clock))


def test_refusals_from_before_spellings_were_merged_keep_counting(store: MemoryRefusals, clock: TurnableClock) -> None:
    then = round(clock.now() * 1000)
    for number, url in enumerate(("http://cpa.example", "http://192.0.2.1")):
        name = keyed_hash(f"{url}\n{KEY}".encode())
        store.replace((), "default", RefusedKey(fingerprint=name, count=1 + number, refused_at_ms=then))
    guard = _at("http://cpa.example", store, clock, "192.0.2.1")
    with pytest.raises(KeyRefusedError, match="once"):
        _begin(guard)
    clock.advance(WAIT)
    _refuse(guard)
    with pytest.raises(KeyRefusedError, match="4 times"):
        _begin(_at("http://192.0.2.1", store, clock))
