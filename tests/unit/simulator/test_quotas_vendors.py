"""The simulated providers limit calls by account and by address, and ban callers that ignore the limits."""

from typing import Any

import pytest

from exporter.simulator.world import CREDENTIALS, Credential
from tests.fakes.guarding import TurnableClock
from tests.fakes.steered.vendors import SteeredVendors

ALICE, BOB, FRANK = (
    next(each for each in CREDENTIALS if each.name == name) for name in ("claude-alice", "claude-bob", "kimi-frank")
)
USAGE, PROFILE = (f"https://api.anthropic.com/api/oauth/{page}" for page in ("usage", "profile"))


@pytest.fixture
def clock() -> TurnableClock:
    return TurnableClock()


@pytest.fixture
def vendors(clock: TurnableClock) -> SteeredVendors:
    return SteeredVendors(clock)


def _call(vendors: SteeredVendors, credential: Credential | None, url: str = USAGE, **headers: str) -> tuple[int, str]:
    sent: dict[str, Any] = {"Authorization": "Bearer $TOKEN$", "User-Agent": "claude-code/2.1.0"}
    answer = vendors.answer(credential, {"url": url, "header": sent | headers})
    assert answer is not None
    return answer[0], answer[1].get("Retry-After", [""])[0]


def test_a_call_without_the_token_or_an_account_is_refused(vendors: SteeredVendors) -> None:
    assert _call(vendors, ALICE, Authorization="Bearer x")[0] == 401
    assert _call(vendors, None)[0] == 401
    assert vendors.counts.calls == {}


def test_claude_demands_its_own_user_agent(vendors: SteeredVendors) -> None:
    assert _call(vendors, ALICE, **{"User-Agent": "curl/8"}) == (429, "")


def test_one_account_is_limited_by_page(vendors: SteeredVendors, clock: TurnableClock) -> None:
    assert _call(vendors, ALICE)[0] == 200
    clock.advance(180)
    assert _call(vendors, ALICE, PROFILE)[0] == 200
    clock.advance(119 + 1)
    assert _call(vendors, ALICE)[0] == 200, "300 s after the last time"
    clock.advance(299)
    assert _call(vendors, ALICE) == (429, "900")


def test_one_address_is_limited_across_accounts(vendors: SteeredVendors, clock: TurnableClock) -> None:
    assert _call(vendors, ALICE)[0] == 200
    clock.advance(90)
    assert _call(vendors, BOB) == (429, "360")
    assert _call(vendors, FRANK, "https://api.kimi.com/coding/v1/usages")[0] == 200, "another provider"


def test_a_caller_that_keeps_calling_is_banned(vendors: SteeredVendors, clock: TurnableClock) -> None:
    vendors.order("claude-alice", 429, retry_after="600", wait=600)
    assert _call(vendors, ALICE) == (429, "600")
    for _ in range(3):
        clock.advance(150)
        assert _call(vendors, ALICE)[0] == 429
    assert vendors.violations == 3
    clock.advance(7200)

    assert _call(vendors, ALICE)[0] == 403
    assert vendors.banned == {"claude-alice"}


def test_a_caller_that_waits_is_not_banned(vendors: SteeredVendors, clock: TurnableClock) -> None:
    vendors.order("claude-alice", 429, retry_after="600", wait=600)
    _call(vendors, ALICE)
    clock.advance(600)

    assert _call(vendors, ALICE)[0] == 200
    assert (vendors.violations, vendors.counts.refused) == (0, 1)
