"""The page's section of limits, and the reset endpoint, over a real ledger."""

import re
from collections import Counter
from dataclasses import replace
from datetime import UTC
from html import unescape
from pathlib import Path

import msgspec
import pytest

from exporter.errors import LedgerError
from exporter.ledger.shown_names import CredentialLabels, ShownNames
from exporter.ledger.store.quota_points import CapacityChanges
from exporter.limits.board import Board, PlanValue
from exporter.limits.capacity import Capacity, WindowWorth
from exporter.limits.limit_file import Plan, watch_limit_file
from exporter.limits.model import LimitWindow, ProviderWindow, Thresholds
from exporter.limits.pools import Pool, PoolKey
from exporter.normalize.inventory import Account
from exporter.records import Billing, CredentialFacts
from exporter.settings.proxies import Aliases
from exporter.sources.proxy_status import ProxyStatus
from exporter.web.credential_states import credential_states
from tests.benches.web import WebBench
from tests.unit.web.test_status_page import HOSTILE

_NOW_MS = 1_795_000_000_000
_HOUR_MS = 3_600_000
_WINDOW = LimitWindow(
    proxy="",
    limit="a",
    name="First",
    kind="configured",
    provider="claude",
    credential="",
    scope="",
    window="5h",
    unit="tokens",
    used_ratio=0.5,
    used=500_000.0,
    budget=1_000_000.0,
    thresholds=Thresholds(warning=0.8, critical=0.95),
    observed_ms=_NOW_MS,
    start_ms=_NOW_MS - _HOUR_MS,
    reset_ms=_NOW_MS + 4 * _HOUR_MS,
)


def _rows(web: WebBench, *windows: LimitWindow) -> list[str]:
    """The rows of the table of limits as HTML, in order."""
    client = web.client()
    web.limits.current = Board(at_ms=_NOW_MS, windows=windows)
    section = _section(client.get("/").text)
    return re.findall(r'<tr role="row"(?: class="idle")?><th role="rowheader".*?</tr>', section, re.DOTALL)


def _section(text: str) -> str:
    found = re.search(r'<section id="limits".*?</section>', text, re.DOTALL)
    assert found is not None
    return found[0]


def _words(html: str) -> str:
    return " ".join(re.sub(r"<[^>]*>", " ", html).split())


def test_without_limits_the_page_says_how_to_add_one(web: WebBench) -> None:
    section = _words(_section(web.client().get("/").text))
    assert section == (
        "Limits No provider has reported a window yet, and neither EXPORTER_LIMITS_FILE nor the table"
        " rate_limit_configs in Supabase names limits."
    )


def test_limits_nearest_to_exhaustion_come_first(web: WebBench) -> None:
    used = {"low": 0.1, "full": 1.2, "middle": 0.85}
    rows = _rows(web, *(replace(_WINDOW, limit=id_, name=id_, used_ratio=ratio) for id_, ratio in used.items()))
    assert [_words(row).split()[0] for row in rows] == ["full", "middle", "low"]


@pytest.mark.parametrize(
    ("ratio", "width", "level", "share"),
    [
        (0.0, "0.0", "fine", "0%"),
        (0.5, "50.0", "fine", "50.0%"),
        (0.7999, "79.99", "fine", "80.0%"),
        (0.8, "80.0", "warning", "80.0%"),
        (0.9499, "94.99", "warning", "95.0%"),
        (0.95, "95.0", "critical", "95.0%"),
        (1.13, "100", "critical", "113.0%"),
    ],
)
def test_a_bar_has_the_length_of_the_use_and_the_color_of_its_threshold(
    web: WebBench, ratio: float, width: str, level: str, share: str
) -> None:
    (row,) = _rows(web, replace(_WINDOW, used_ratio=ratio))
    bars = re.findall(r'<rect width="([\d.]+)" height="8" class="(\w+)"/>', row)
    assert bars == [("100", "rest"), (width, level)]
    assert share in _words(row)
    assert 'd="M80.0 0v8M95.0 0v8"' in row


def test_a_row_shows_use_reset_and_exhaustion(web: WebBench) -> None:
    (row,) = _rows(web, _WINDOW)
    assert _words(row) == "First tokens, 5h window 50.0% 500.0k of 1.0M tokens 4 h 2.5x 1 h"


def test_a_window_without_an_end_or_not_yet_open_says_so(web: WebBench) -> None:
    rolling, closed = _rows(
        web,
        replace(_WINDOW, limit="a", reset_ms=None),
        replace(_WINDOW, limit="b", start_ms=None, reset_ms=None, used=0.0, used_ratio=0.0),
    )
    assert "rolling" in _words(rolling)
    assert "not open" in _words(closed)


def test_a_providers_window_is_a_share_of_an_account(web: WebBench) -> None:
    reported = replace(
        _WINDOW, kind="provider", name="", proxy="p", credential="claude-ab12", scope="opus", unit="share", used=None
    )
    (row,) = _rows(web, replace(reported, budget=None))
    assert _words(row) == "claude-ab12 claude, opus, 5h window 50.0% \N{EN DASH} 4 h 2.5x 1 h"


@pytest.mark.parametrize("hostile", HOSTILE)
def test_names_of_limits_stay_text(web: WebBench, hostile: str) -> None:
    clean = _section_with(web, "n" * len(hostile))  # a long one is cut and has a tooltip
    section = _section_with(web, hostile)
    assert re.findall(r"<[a-z/]+", section) == re.findall(r"<[a-z/]+", clean), "no tag more"
    assert "<script>" not in section


def _section_with(web: WebBench, name: str) -> str:
    client = web.client()
    window = replace(_WINDOW, name=name, credential=name, scope=name, window=name, provider=name, proxy=name)
    web.limits.current = Board(
        at_ms=_NOW_MS,
        windows=(window, replace(window, kind="provider", limit=name, unit="share", used_ratio=0.4)),
        unmatched=(name,),
    )
    return _section(client.get("/").text)


def test_limits_that_match_nothing_are_a_note(web: WebBench) -> None:
    client = web.client()
    web.limits.current = Board(at_ms=_NOW_MS, unmatched=("odd", "strange"))
    text = _words(client.get("/").text)
    assert "2 of the limits match nothing that was used so far" in text
    assert "odd" in text
    assert "strange" in text


# --- what subscriptions are worth -------------------------------------------------------------------------------------


def _worth(web: WebBench, board: Board) -> list[str]:
    """The lines of the section about the worth of subscriptions, as a reader sees them; none without the section."""
    client = web.client()
    web.limits.current = board
    found = re.search(r'<section id="worth".*?</section>', client.get("/").text, re.DOTALL)
    return [_words(line) for line in re.findall(r"<li.*?</li>", found[0], re.DOTALL)] if found else []


def _listed(web: WebBench, *names: str, proxy: str = "p") -> None:
    web.ledger.register(proxy)
    accounts = [
        Account(
            facts=CredentialFacts(provider="claude", billing=Billing.SUBSCRIPTION),
            identity=("file", name),
            auth_index=name,
            auth_type="oauth",
        )
        for name in names
    ]
    web.statuses.append(ProxyStatus(name=proxy, accounts=tuple(web.ledger.take_inventory(proxy, accounts))))


_PLAN = Plan.model_construct(credential="*", price_per_month=200 * 10**9, currency="USD")


def _worth_of(estimate: float, low: float, high: float) -> WindowWorth:
    return WindowWorth(usd=Capacity(estimate, low, high), tokens=None, changes=CapacityChanges())


def test_an_account_has_a_line_with_its_plan_and_its_windows(web: WebBench) -> None:
    _listed(web, "anna", "bob")
    board = Board(
        plans={
            CredentialLabels("p", "claude-anna", "claude"): PlanValue(_PLAN, 412_300_000_000),
            CredentialLabels("p", "claude-bob", "claude"): PlanValue(
                Plan.model_construct(credential="claude-bob", price_per_month=22_990_000_000, currency="EUR"), 0
            ),
        },
        worth={
            ProviderWindow("p", "claude", "claude-anna", "opus", "7d"): _worth_of(90, 80, 100.5),
            ProviderWindow("p", "claude", "claude-anna", "", "7d"): _worth_of(240, 235.5, 246),
            ProviderWindow("p", "codex", "codex-carl", "", "5h"): _worth_of(41.2, 38.1, 46),
            ProviderWindow("p", "codex", "codex-dora", "", "5h"): WindowWorth(None, None, CapacityChanges()),
        },
    )
    assert _worth(web, board) == [
        "claude-anna claude worth $412.30 this month, costs $200.00 a month; 100% of its windows:"
        " 7d $240.00 ($235.50 to $246.00), 7d opus $90.00 ($80.00 to $100.50)",
        "claude-bob claude worth $0.00 this month, costs 22.99 EUR a month",
        "codex-carl codex 100% of its windows: 5h $41.20 ($38.10 to $46.00)",
    ]


def test_without_known_figures_there_is_no_section_about_worth(web: WebBench) -> None:
    _listed(web, "anna")
    assert _worth(web, Board()) == []


def test_with_several_proxies_the_line_of_an_account_names_its_proxy(web: WebBench) -> None:
    _listed(web, "anna")
    _listed(web, "bob", proxy="q")
    keys = [CredentialLabels("p", "claude-anna", "claude"), CredentialLabels("q", "claude-bob", "claude")]
    board = Board(plans=dict.fromkeys(keys, PlanValue(_PLAN, 0)))
    assert [line.split(" worth")[0] for line in _worth(web, board)] == [
        "claude-anna claude, p",
        "claude-bob claude, q",
    ]


@pytest.mark.parametrize("hostile", HOSTILE)
def test_a_hostile_name_is_only_text_in_the_section_about_worth(web: WebBench, hostile: str) -> None:
    window = ProviderWindow("p", hostile, hostile, hostile, "7d")
    (line,) = _worth(web, Board(worth={window: _worth_of(1, 1, 1)}))
    assert unescape(line) == f"{hostile} {hostile} 100% of its windows: 7d {hostile} $1.00 ($1.00 to $1.00)"


# --- the card of an account -------------------------------------------------------------------------------------------


def _cards(web: WebBench, board: Board) -> list[str]:
    """The first line of each card, as a reader sees it."""
    client = web.client()
    web.limits.current = board
    found = re.findall(r'<tr role="row" class="owner">.*?</tr>', _section(client.get("/").text), re.DOTALL)
    return [_words(line) for line in found]


def test_a_card_has_state_plan_and_worth_of_its_account_beside_its_windows(web: WebBench) -> None:
    _listed(web, "anna", "carl")
    status = web.statuses[0]
    (anna, account), *others = status.accounts
    cooling = msgspec.structs.replace(
        account, status="error", unavailable=True, retry_ms=_NOW_MS + _HOUR_MS, plan="max"
    )
    web.statuses[:] = [replace(status, accounts=((anna, cooling), *others))]
    reported = replace(_WINDOW, kind="provider", name="", proxy="p", credential="claude-anna", unit="share")
    board = Board(
        at_ms=_NOW_MS,
        windows=(
            replace(_WINDOW, name="All of it", used_ratio=0.7),
            reported,
            replace(reported, window="7d", used_ratio=0.9),
        ),
        plans={
            CredentialLabels("p", "claude-anna", "claude"): PlanValue(_PLAN, 412_300_000_000),
            CredentialLabels("p", "claude-carl", "claude"): PlanValue(_PLAN, 0),
        },
        worth={ProviderWindow("p", "claude", "claude-anna", "", "7d"): _worth_of(240, 235.5, 246)},
    )
    first, second = _cards(web, board)
    assert first.startswith("claude-anna max cooling down until 2026-11-18 ")
    assert first.endswith(
        " worth $412.30 this month, costs $200.00 a month; 100% of its windows: 7d $240.00 ($235.50 to $246.00)"
    )
    assert second == "All of it"
    assert [line.split()[0] for line in _worth(web, board)] == ["claude-carl"]


def test_with_several_proxies_the_heading_of_an_account_names_its_proxy_once(web: WebBench) -> None:
    _listed(web, "anna")
    _listed(web, "bob", proxy="q")
    [(id_, account)] = web.statuses[0].accounts
    web.statuses[0] = replace(web.statuses[0], accounts=((id_, msgspec.structs.replace(account, status="active")),))
    reported = replace(_WINDOW, kind="provider", name="", proxy="p", credential="claude-anna", unit="share")
    board = Board(at_ms=_NOW_MS, windows=(reported, replace(reported, credential="claude-key-ab12", proxy="q")))
    heading, key = _cards(web, board)
    assert (heading, key) == ("claude-anna p up", "claude-key-ab12")
    of_anna, of_key = _rows(web, *board.windows)
    assert _words(of_anna).startswith("claude-anna claude, 5h window 50.0%")
    assert _words(of_key).startswith("claude-key-ab12 claude, 5h window, q 50.0%")


def test_the_range_of_a_worth_is_explained_where_there_is_one(web: WebBench) -> None:
    client = web.client()
    range_note = "In parentheses: the range of the true value"
    plans = {CredentialLabels("p", "claude-anna", "claude"): PlanValue(_PLAN, 0)}
    web.limits.current = Board(plans=plans)
    page = client.get("/").text
    assert "At API prices." in page
    assert range_note not in page
    web.limits.current = Board(
        plans=plans, worth={ProviderWindow("p", "claude", "claude-anna", "", "7d"): _worth_of(1, 1, 1)}
    )
    assert range_note in client.get("/").text


def test_an_account_whose_window_is_used_up_is_called_used_up_even_if_its_proxy_calls_it_active(web: WebBench) -> None:
    _listed(web, "anna", "carl")
    listed = web.statuses[0].accounts
    accounts = tuple((id_, msgspec.structs.replace(account, status="active")) for id_, account in listed)
    web.statuses[:] = [replace(web.statuses[0], accounts=accounts)]
    week = replace(
        _WINDOW,
        kind="provider",
        name="",
        proxy="p",
        credential="claude-anna",
        window="7d",
        unit="share",
        used_ratio=1.0,
    )
    opus = replace(week, credential="claude-carl", scope="opus")
    other_models = replace(week, credential="claude-carl", used_ratio=0.3)
    of_anna, of_carl = _cards(web, Board(at_ms=_NOW_MS, windows=(week, opus, other_models)))
    assert of_anna.startswith("claude-anna used up until 2026-11-18 ")
    assert of_carl == "claude-carl up"


def test_accounts_that_do_not_work_come_first(web: WebBench) -> None:
    _listed(web, "anna", "bob", "carl", "dora")
    now = {"anna": "active", "bob": "active", "carl": "disabled", "dora": "active"}
    accounts = tuple(
        (id_, msgspec.structs.replace(account, status=now[name], disabled=now[name] == "disabled"))
        for name, (id_, account) in zip(now, web.statuses[0].accounts, strict=True)
    )
    statuses = [replace(web.statuses[0], accounts=accounts)]
    full = replace(_WINDOW, kind="provider", name="", proxy="p", credential="claude-dora", unit="share", used_ratio=1.0)
    shown_names = ShownNames(web.ledger.name_store, Aliases(), str)
    found = credential_states(
        statuses, Board(windows=(full,)), ledger=web.ledger, shown_names=shown_names, now_ms=_NOW_MS
    )

    assert [(each.name, each.up) for each in found] == [
        ("claude-carl", False),
        ("claude-dora", False),
        ("claude-anna", True),
        ("claude-bob", True),
    ]


def test_a_limit_of_an_account_is_on_the_accounts_card(web: WebBench) -> None:
    reported = replace(_WINDOW, kind="provider", name="", proxy="p", credential="claude-anna", unit="share")
    own = replace(_WINDOW, name="Anna's budget", credential="claude-anna", used_ratio=0.4)

    assert _cards(web, Board(at_ms=_NOW_MS, windows=(reported, own))) == ["claude-anna"]


def test_an_account_is_used_up_until_its_window_resets_even_if_its_proxy_waits_less_long(web: WebBench) -> None:
    _listed(web, "anna")
    status = web.statuses[0]
    ((id_, account),) = status.accounts
    waits = msgspec.structs.replace(account, status="error", unavailable=True, retry_ms=_NOW_MS + _HOUR_MS // 2)
    web.statuses[:] = [replace(status, accounts=((id_, waits),))]
    full = replace(_WINDOW, kind="provider", name="", proxy="p", credential="claude-anna", unit="share", used_ratio=1.0)
    [card] = _cards(web, Board(at_ms=_NOW_MS, windows=(replace(full, reset_ms=_NOW_MS + 30 * _HOUR_MS),)))
    assert card.startswith("claude-anna used up until 2026-11-19 ")


# --- the accounts of a provider together ------------------------------------------------------------------------------


def _accounts(web: WebBench, board: Board) -> str:
    """The section about accounts, as a reader sees it."""
    client = web.client()
    web.limits.current = board
    found = re.search(r'<section id="credentials".*?</section>', client.get("/").text, re.DOTALL)
    assert found is not None
    return re.sub(r" (?=[.,])", "", unescape(_words(found[0])))


def test_accounts_of_a_provider_share_one_line(web: WebBench) -> None:
    _listed(web, "anna")
    board = Board(
        at_ms=_NOW_MS,
        pools={
            PoolKey("p", "kimi"): Pool(Counter({"cooling": 1}), None, _NOW_MS),
            PoolKey("p", "claude"): Pool(
                Counter({"usable": 2, "exhausted": 1, "unknown": 3}), _NOW_MS + _HOUR_MS, _NOW_MS + 5 * _HOUR_MS
            ),
        },
    )
    alone = (
        "claude 2 usable, 1 exhausted, 3 unknown; next back in 1 h; empty in 5 h at this pace kimi 0 usable, 1 cooling"
    )
    assert alone in _accounts(web, board)
    web.statuses.append(ProxyStatus(name="q"))
    assert "claude, p 2 usable" in _accounts(web, board)


@pytest.mark.parametrize(
    ("names", "sentence"),
    [
        (("kimi-frank",), "The windows of 1 account are not known: {}its provider is asked{} kimi-frank."),
        (
            ("a", "b", "c", "d", "e", "f"),
            "The windows of 6 accounts are not known: {}their providers are asked{} a, b, c, d, e, and 1 more.",
        ),
    ],
)
def test_accounts_that_nobody_asks_about_are_named_with_the_setting_and_are_not_a_note(
    web: WebBench, names: tuple[str, ...], sentence: str
) -> None:
    _listed(web, "anna")
    web.unasked = {"p": names}
    assert sentence.format("with EXPORTER_QUOTAS=active ", ", rarely and through the proxy.") in _accounts(web, Board())
    assert "The windows of" not in web.client().get("/").text.partition('id="limits"')[0]


# --- the reset endpoint -----------------------------------------------------------------------------------------------


_LIMITS = """\
limits:
- {id: a, tokens: 5_000_000, usd: 12, strategy: daily}
- {id: "7", usd: 12.50, strategy: daily}
- {id: people, requests: 5, strategy: daily, per: client}
"""


@pytest.fixture
def limited(web: WebBench, tmp_path: Path) -> WebBench:
    path = tmp_path / "limits.yaml"
    path.write_text(_LIMITS, encoding="utf-8")
    web.limits_file = watch_limit_file(path, zone=UTC)
    return web


@pytest.mark.parametrize(
    ("id_", "label"), [("a", "0/5,000,000 Tokens"), ("7", "$0.00/$12.50"), ("people", "0/5 Requests")]
)
def test_a_reset_answers_as_the_predecessor_did(limited: WebBench, id_: str, label: str) -> None:
    answer = limited.client().post(f"/api/collector/reset/{id_}")
    assert (answer.status_code, answer.mimetype) == (200, "application/json")
    assert answer.json == {
        "message": f"Limit {id_} was reset.",
        "new_status": {"percentage": 100, "label": label},
    }
    assert limited.ledger.limits.anchors() == {id_: _NOW_MS}


def test_a_reset_that_cannot_be_stored_is_a_500_in_json(limited: WebBench, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise LedgerError("The disk is full: make room.")

    monkeypatch.setattr(limited.ledger.limits, "set_anchor", fail)
    answer = limited.client().post("/api/collector/reset/a")
    assert (answer.status_code, answer.json) == (500, {"error": "The disk is full: make room."})


@pytest.mark.parametrize(
    ("headers", "address", "status"),
    [
        ({}, "192.0.2.7", 403),
        ({"Origin": "http://evil.example"}, "127.0.0.1", 403),
        ({"Host": "evil.example"}, "127.0.0.1", 403),
        ({"Origin": "http://localhost"}, "127.0.0.1", 200),
    ],
)
def test_resets_are_for_visitors_who_may_post(
    limited: WebBench, headers: dict[str, str], address: str, status: int
) -> None:
    client = limited.client()
    answer = client.post("/api/collector/reset/a", headers=headers, environ_base={"REMOTE_ADDR": address})
    assert answer.status_code == status
    assert bool(limited.ledger.limits.anchors()) == (status == 200)


def test_with_a_token_a_reset_demands_it(limited: WebBench) -> None:
    client = limited.client(token="t-0123456789")
    assert client.post("/api/collector/reset/a").status_code == 401
    assert client.post("/api/collector/reset/a", headers={"Authorization": "Bearer t-0123456789"}).status_code == 200


@pytest.mark.parametrize(
    ("kind", "minutes", "shown"),
    [
        ("provider", 14, ""),
        ("provider", 16, "read 16 min ago"),
        ("provider", 300, "read 5 h ago"),
        ("configured", 99, ""),
    ],
)
def test_an_old_reading_of_a_provider_shows_its_age(web: WebBench, kind: str, minutes: int, shown: str) -> None:
    scope = "a-model-with-a-name-that-is-cut-because-it-is-long"
    window = replace(_WINDOW, kind=kind, credential="c", scope=scope, observed_ms=_NOW_MS - minutes * 60_000)

    [row] = _rows(web, window)

    assert ("read " in _words(row)) == bool(shown)
    assert shown in _words(row)


def test_a_cap_on_money_shows_its_amounts(web: WebBench) -> None:
    window = replace(_WINDOW, kind="provider", credential="c", unit="usd", used=12.0, budget=50.0, source="active")

    assert "$12.00 of $50.00" in _words(_rows(web, window)[0])
