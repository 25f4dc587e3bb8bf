"""The exporter asks about idle accounts at providers that limit their callers and ban those who ignore the limits."""

import io
import json
import re
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest
import structlog.testing

from exporter.logs import configure_logging
from exporter.metrics.credentials import QUOTA_FETCHES, QUOTAS
from exporter.quotas.pacing import RESULTS
from exporter.simulator.quotas import vendor_answer
from exporter.simulator.world import Credential
from exporter.sources.proxy_client import Timeouts
from tests.benches.asked import call_of
from tests.benches.quotas import BY_NAME, QuotaBench, accounts_like
from tests.fakes.planted import secrets
from tests.stack.running import secrets_found
from tests.stack.waiting import PATIENCE_SECONDS, wait_until

MINUTE, HOUR = 60.0, 3_600.0
FETCHES = "cliproxy_quota_fetches_total"
NEXT = "cliproxy_quota_next_fetch_timestamp_seconds"
ALICE, ERIN, FRANK, GRACE = "claude-alice", "antigravity-erin", "kimi-frank", "xai-grace"


@contextmanager
def _bench(folder: Path, *names: str, **more: Any) -> Iterator[QuotaBench]:
    accounts: list[Credential] = [BY_NAME[name] for name in names]
    with closing(QuotaBench(folder, accounts or TWELVE, **more)) as bench:
        yield bench


TWELVE = [
    *accounts_like("claude-alice", 5),
    *accounts_like("codex-carol", 3),
    *accounts_like("kimi-frank", 2),
    BY_NAME["antigravity-erin"],
    BY_NAME["xai-grace"],
]


def _trouble(hour: int, bench: QuotaBench) -> None:
    """What the providers do to some account at this hour of the day, beyond their own limits."""
    order, date = bench.vendors.order, formatdate(bench.clock.now() + 2 * HOUR, usegmt=True)
    if hour == 2:
        order("claude-alice-2", 429, retry_after="1600", wait=1600)
    elif hour == 4:
        order("claude-alice-3", 429, retry_after="0", wait=HOUR)
    elif hour == 5:
        order("codex-carol-2", 429, wait=HOUR)
    elif hour == 6:
        order("codex-carol-3", 401, wait=4 * HOUR)
    elif hour == 8:
        order("kimi-frank-2", 429, retry_after=date, wait=2 * HOUR)
    elif hour == 10:
        order("xai-grace", 503)
    elif hour == 14:
        order("claude-alice-4", 403, wait=4 * HOUR)


@pytest.mark.timeout(600)
def test_a_day_with_twelve_accounts_bans_nobody(tmp_path: Path) -> None:
    with _bench(tmp_path) as bench:
        vendors = bench.vendors
        oldest: Counter[str] = Counter()
        for hour in range(24):
            _trouble(hour, bench)
            if hour == 12:
                bench.stop()
                bench.start()
            for _ in range(7):
                bench.use("claude-alice")
                bench.pass_time(HOUR / 7, step=HOUR / 7 / 15)
                for (account, _, scope), window in bench.windows().items():
                    age = bench.clock.now() - window.observed
                    assert age < 15 * MINUTE or "read " in window.note
                    if hour >= 1 and scope not in ("opus", "sonnet"):
                        oldest[account] = max(oldest[account], round(age / MINUTE))

        assert vendors.banned == set()
        assert vendors.violations == 0
        assert vendors.counts.refused == 7, "those that were ordered, and no other"
        calls = {each.name: (vendors.counts.pages[each.name], vendors.counts.calls[each.name]) for each in TWELVE}
        assert calls["claude-alice"][0] == 0, "it was in use all day"
        idle = [each for each in TWELVE if each.name != "claude-alice"]
        assert all(50 <= calls[each.name][0] <= 6 * 24 for each in idle), calls
        assert all(calls[each.name][1] - calls[each.name][0] <= 24 * 4 for each in TWELVE), calls
        assert oldest.keys() == {each.name for each in TWELVE}, "each is known"
        # A requested wait applies to its account, and up to an hour of it to the provider's other accounts.
        assert all(oldest[name] <= 90 for name in ("claude-alice-5", "codex-carol", "kimi-frank")), oldest
        assert oldest["claude-alice"] <= 10
        assert oldest["antigravity-erin"] <= 20


# --- whose turn it is -------------------------------------------------------------------------------------------------


def test_accounts_that_report_nothing_themselves_are_known_within_a_minute(tmp_path: Path) -> None:
    with _bench(tmp_path, ALICE, ERIN, FRANK, GRACE) as bench:
        assert bench.windows() == {}
        bench.pass_time(MINUTE, step=5)

        shares = {key: window.used_ratio for key, window in bench.windows().items()}
        assert {(FRANK, "5h", ""), (FRANK, "7d", ""), (ERIN, "5h", "gemini"), (GRACE, "7d", "")} <= shares.keys()
        source = {"source": "active", "kind": "provider"}
        assert bench.metric("cliproxy_limit_source_info", credential=FRANK, **source) == 2


def test_what_never_ends_and_only_questions_renew_is_hidden_while_nobody_asks(tmp_path: Path) -> None:
    with _bench(tmp_path, ALICE, "codex-carol") as bench:
        bench.pass_time(HOUR)
        windows, facts = bench.windows(), {"credential": ALICE, "plan": "max-20x"}
        assert (ALICE, "month", "extra-usage") in windows
        assert bench.metric("cliproxy_credential_info", **facts) == 1
        assert bench.metric("cliproxy_quota_reset_credits") == 1

        bench.restart(active=False)
        assert windows.keys() - bench.windows().keys() == {(ALICE, "month", "extra-usage")}
        assert bench.metric("cliproxy_credential_info", **facts) is None
        assert bench.metric("cliproxy_quota_reset_credits") is None

        bench.clock.advance(7 * 24 * HOUR)
        bench.asker.ask_next()
        assert bench.windows() == {}
        assert bench.asker.unknown == {"default": [ALICE, "codex-carol"]}

        bench.restart(active=True)
        assert bench.windows().keys() == {(ALICE, "month", "extra-usage")}
        assert bench.metric("cliproxy_quota_reset_credits") == 1


def test_an_account_in_use_is_not_asked_about_until_it_rests(tmp_path: Path) -> None:
    with _bench(tmp_path, ALICE) as bench:
        for _ in range(20):
            bench.use(ALICE)
            bench.pass_time(9 * MINUTE)
        assert bench.vendors.counts.pages[ALICE] == 0
        due = bench.metric(NEXT, credential=ALICE, proxy="default", provider="claude")
        assert due is not None
        assert MINUTE / 2 <= due - bench.clock.now() <= 2 * MINUTE

        bench.pass_time(2 * MINUTE)

        assert bench.vendors.counts.pages[ALICE] == 1


def test_a_restart_asks_about_no_account_sooner(tmp_path: Path) -> None:
    with _bench(tmp_path, ALICE, FRANK) as bench:
        bench.vendors.order(FRANK, 429, retry_after="7200", wait=7200)
        bench.pass_time(4 * MINUTE)
        before = Counter(bench.vendors.counts.calls)
        for _ in range(5):
            bench.stop()
            bench.start()
            bench.pass_time(15)

        assert bench.vendors.counts.calls == before
        bench.pass_time(2 * HOUR)
        assert bench.vendors.counts.calls[FRANK] == before[FRANK]
        assert bench.vendors.violations == 0


def test_two_accounts_of_one_address_are_one_account(tmp_path: Path) -> None:
    twins = [BY_NAME[FRANK], replace(BY_NAME[FRANK], name="kimi-frank-again", email="frank@demo.example")]
    twins[0] = replace(twins[0], email="frank@demo.example")
    with closing(QuotaBench(tmp_path, twins)) as bench:
        bench.pass_time(HOUR)

        assert sum(bench.vendors.counts.pages.values()) <= 4


# --- what an answer does ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "body", "result"),
    [
        (200, "<html><body>Just a moment</body></html>", "unreadable"),
        (200, '{"error": {"type": "authentication_error"}}', "unauthorized"),
        (200, "x" * 50_000_000, "unreadable"),
        (401, "{}", "unauthorized"),
        (402, "{}", "forbidden"),
        (403, "<html>challenge</html>", "forbidden"),
        (404, "{}", "not_found"),
        (426, "{}", "outdated"),
        (429, "{}", "rate_limited"),
        (500, "{}", "unavailable"),
    ],
    ids=lambda value: value[:20] if isinstance(value, str) else str(value),
)
def test_an_error_changes_no_value_and_its_age_shows(tmp_path: Path, status: int, body: str, result: str) -> None:
    with _bench(tmp_path, FRANK) as bench:
        bench.pass_time(15)
        known = bench.windows()
        bench.vendors.order(FRANK, status, body=body)
        bench.pass_time(20 * MINUTE)

        labels = {"proxy": "default", "provider": "kimi"}
        assert bench.metric(FETCHES, result=result, **labels) == 1
        assert bench.metric(FETCHES, result="ok", **labels) == 1
        assert re.findall(r'^cliproxy_quota_last_result_info{.*result="(.*)"} 1', bench.metrics, re.M) == [result]
        later = bench.windows()
        assert {key: (each.used_ratio, each.observed) for key, each in later.items()} == {
            key: (each.used_ratio, each.observed) for key, each in known.items()
        }
        assert all("read 20 min ago" in each.note for each in later.values())


def test_an_account_without_a_known_project_is_reported_as_that(tmp_path: Path) -> None:
    with closing(QuotaBench(tmp_path, [replace(BY_NAME[ERIN], project_id="")])) as bench:
        bench.pass_time(10 * MINUTE)

        assert not bench.vendors.counts.pages[ERIN]
        assert bench.metric(FETCHES, provider="antigravity", result="no_project") == 1
        assert bench.metric(FETCHES, provider="antigravity", result="not_found") == 0


@pytest.mark.parametrize(("status", "hours"), [(401, 4), (403, 4), (429, 1)])
def test_a_refused_account_rests_with_all_its_questions(tmp_path: Path, status: int, hours: int) -> None:
    with _bench(tmp_path, ALICE) as bench:
        bench.vendors.order(ALICE, status)
        bench.pass_time(15)
        calls = bench.vendors.counts.calls[ALICE]
        bench.pass_time((hours - 0.1) * HOUR, step=300)

        assert bench.vendors.counts.calls[ALICE] == calls
        bench.pass_time(1.5 * HOUR, step=300)
        assert bench.vendors.counts.calls[ALICE] > calls


def test_a_forbidden_page_beside_the_windows_rests_alone(tmp_path: Path) -> None:
    with _bench(tmp_path, ALICE) as bench:
        bench.pass_time(15)
        bench.vendors.order(ALICE, 403)
        bench.pass_time(4 * MINUTE)
        assert bench.metric(FETCHES, result="forbidden") == 1
        bench.pass_time(HOUR, step=30)

        assert bench.vendors.counts.pages[ALICE] >= 5
        assert bench.vendors.counts.calls[ALICE] == bench.vendors.counts.pages[ALICE] + 1


def test_a_window_that_has_ended_is_unknown(tmp_path: Path) -> None:
    with _bench(tmp_path, FRANK) as bench:
        bench.pass_time(15)
        assert (FRANK, "5h", "") in bench.windows()
        bench.proxy.fault(path="api-call", kind="status", status=502, times=None)
        bench.pass_time(5 * HOUR, step=60)

        assert (FRANK, "5h", "") not in bench.windows()
        assert (FRANK, "7d", "") in bench.windows()


def test_figures_besides_windows_are_shown(tmp_path: Path) -> None:
    with _bench(tmp_path, ALICE, "codex-carol") as bench:
        bench.pass_time(15 * MINUTE)

        of_alice = {"proxy": "default", "credential": ALICE, "provider": "claude"}
        assert bench.metric("cliproxy_credential_info", plan="max-20x", **of_alice) == 1
        assert bench.metric("cliproxy_quota_elsewhere_ratio", **of_alice) == pytest.approx(0.3)
        cap = of_alice | {"unit": "usd", "scope": "extra-usage"}
        assert bench.metric("cliproxy_limit_used", **cap) == pytest.approx(12)
        assert bench.metric("cliproxy_limit_budget", **cap) == pytest.approx(50)
        assert bench.metric("cliproxy_limit_used_ratio", **cap) == pytest.approx(0.24)
        assert bench.metric("cliproxy_quota_reset_credits", credential="codex-carol") == 1
        assert '"$12.00 of $50.00"' in repr([row.amount for row in bench.rows()]).replace("'", '"')


def test_the_share_of_a_past_week_is_not_shown(tmp_path: Path) -> None:
    with _bench(tmp_path, ALICE) as bench:
        bench.pass_time(15 * MINUTE)
        bench.proxy.fault(path="api-call", kind="status", status=502, times=None)
        bench.pass_time(8 * 24 * HOUR, step=8 * HOUR)

        assert bench.metric("cliproxy_quota_elsewhere_ratio") is None
        assert bench.metric("cliproxy_credential_info", plan="max-20x") == 1


# --- what the proxy does ----------------------------------------------------------------------------------------------


def test_an_account_that_is_gone_is_not_asked_about(tmp_path: Path) -> None:
    with _bench(tmp_path, FRANK, GRACE) as bench:
        bench.proxy.accounts = (BY_NAME[GRACE],)
        bench.proxy.restart()
        bench.pass_time(HOUR, step=60)

        assert bench.vendors.counts.calls[FRANK] == 0
        asked = bench.metric(FETCHES, result="gone", provider="kimi")
        assert asked == bench.metric(FETCHES, provider="kimi") == 4
        bench.clock.advance(61)
        bench.poller.poll()
        bench.pass_time(HOUR, step=60)
        assert bench.metric(FETCHES, provider="kimi") == asked, "it is not listed any more"


def test_an_old_proxy_is_asked_once_a_day(tmp_path: Path) -> None:
    with _bench(tmp_path, ALICE, FRANK, version="v6.6.60") as bench:
        bench.pass_time(5 * HOUR, step=300)
        assert bench.proxy.requests["api-call"] == 1
        assert bench.metric(FETCHES, result="unsupported") == 1
        bench.proxy.upgrade("v7.2.140")
        bench.poller.poll()
        bench.poller.poll()
        bench.pass_time(HOUR, step=60)

        assert bench.vendors.counts.pages[ALICE] > 0
        assert bench.vendors.counts.pages[FRANK] > 0


def test_version_8_is_asked_on_its_own_path(tmp_path: Path) -> None:
    with _bench(tmp_path, ALICE, FRANK, version="v8.0.3") as bench:
        bench.proxy.without_v0 = True
        bench.poller.poll()
        bench.pass_time(MINUTE, step=5)

        assert (FRANK, "5h", "") in bench.windows()
        assert (ALICE, "5h", "") in bench.windows()
        assert bench.proxy.counts().mutating_calls == 0


def test_a_plugin_is_asked_first_and_the_provider_if_it_knows_nothing(tmp_path: Path) -> None:
    with _bench(tmp_path, FRANK, version="v8.0.3") as bench:
        bench.vendors.plugin_for = "kimi"
        bench.pass_time(15)
        assert (FRANK, "5h", "gemini") in bench.windows(), "as the plugin tells it"
        assert bench.metric("cliproxy_balance_usd", credential=FRANK, balance="credits") == 12
        bench.pass_time(5 * MINUTE)
        assert (bench.proxy.requests["quota/fetch"], bench.proxy.requests["api-call"]) == (1, 0), "one question"
        bench.vendors.plugin_for = ""
        bench.pass_time(20 * MINUTE)

        assert (FRANK, "5h", "") in bench.windows()
        assert bench.proxy.requests["quota/fetch"] == 2


def test_each_metric_about_asking_has_a_sample(tmp_path: Path) -> None:
    with _bench(tmp_path, ALICE, "codex-carol", FRANK, version="v8.0.3") as bench:
        bench.vendors.plugin_for = "kimi"
        bench.pass_time(10 * MINUTE)
        samples = [line for line in bench.metrics.splitlines() if not line.startswith("#")]

        for family in (QUOTA_FETCHES, *QUOTAS):
            labels = [line[len(family.sample_name) :] for line in samples if line.startswith(f"{family.sample_name}{{")]
            assert labels, family.sample_name
            assert all(set(re.findall(r'(\w+)="', each)) == set(family.labels) for each in labels)
        results = {each for line in samples for each in re.findall(r'fetches_total.*result="(\w+)"', line)}
        assert results == set(RESULTS), "each is there at 0 before it happens"


def test_a_provider_that_only_a_plugin_knows_is_shown(tmp_path: Path) -> None:
    kiro = replace(BY_NAME[FRANK], name="kiro-ken", provider="kiro")
    with closing(QuotaBench(tmp_path, [kiro], version="v8.0.3")) as bench:
        bench.vendors.plugin_for = "kiro"
        bench.pass_time(HOUR, step=30)

        assert ("kiro-ken", "5h", "gemini") in bench.windows()
        assert 3 <= bench.proxy.requests["quota/fetch"] <= 4
        assert bench.proxy.requests["api-call"] == 0


def test_a_plugin_is_found_after_a_failure_although_the_clock_was_wrong(tmp_path: Path) -> None:
    kiro = replace(BY_NAME[FRANK], name="kiro-ken", provider="kiro")
    with closing(QuotaBench(tmp_path, [kiro], version="v8.0.3")) as bench:
        bench.vendors.plugin_for = "kiro"
        bench.proxy.fault(path="quota/providers", kind="status", status=500)
        bench.pass_time(MINUTE)
        bench.clock.jump(-30 * 24 * HOUR)
        bench.pass_time(HOUR, step=30)

        assert ("kiro-ken", "5h", "gemini") in bench.windows()


def test_a_refused_key_is_tried_once(tmp_path: Path) -> None:
    with _bench(tmp_path, ALICE, FRANK, GRACE) as bench:
        bench.proxy.logins.key = "another"
        bench.pass_time(30 * MINUTE)
        bench.poller.poll()

        assert bench.proxy.counts().refused_logins == 1
        assert bench.poller.status.state == "key_refused"


def test_silence_delays_no_poll_and_no_stop(tmp_path: Path) -> None:
    with _bench(tmp_path, ALICE, FRANK) as bench:
        bench.proxy.fault(path="api-call", kind="hang", seconds=60.0, times=None)
        bench.clock.advance(15)
        asking = threading.Thread(target=bench.asker.ask_next)
        asking.start()
        wait_until(lambda: bench.proxy.requests["api-call"] == 1)

        began = time.monotonic()
        bench.use(ALICE)
        assert bench.poller.status.state == "ok"
        assert bench.windows().keys() >= {(ALICE, "5h", "")}
        bench.asker.stop()
        asking.join(PATIENCE_SECONDS)
        assert time.monotonic() - began < 15
        assert bench.metric(FETCHES) == 0, "what was cut off is no failure of a provider"


def test_silence_ends_the_call_and_lengthens_the_pause(tmp_path: Path) -> None:
    timeouts = Timeouts(connect=PATIENCE_SECONDS, read=1.0, total=PATIENCE_SECONDS)
    with _bench(tmp_path, FRANK, timeouts=timeouts) as bench:
        bench.proxy.fault(path="api-call", kind="hang", seconds=60.0, times=3)
        bench.pass_time(15)
        assert bench.metric(FETCHES, result="unavailable") == 1
        bench.pass_time(40 * MINUTE, step=30)
        assert bench.metric(FETCHES, result="unavailable") == 2
        bench.pass_time(3 * HOUR, step=30)
        assert bench.metric(FETCHES, result="unavailable") == 3
        assert (bench.metric(FETCHES, result="ok") or 0) > 0


# --- passive ----------------------------------------------------------------------------------------------------------


def test_without_the_setting_nobody_is_asked_and_the_log_says_once_who_would_be(tmp_path: Path) -> None:
    with structlog.testing.capture_logs() as lines, _bench(tmp_path, active=False) as bench:
        bench.use(*(each.name for each in TWELVE if each.provider == "claude"))
        bench.pass_time(HOUR, step=60)
        told = [line for line in lines if line["event"] == "quotas_passive"]

        assert bench.proxy.requests["api-call"] == bench.proxy.requests["quota/providers"] == 0
        assert len(told) == 1
        assert {FRANK, ERIN, GRACE} <= set(told[0]["accounts"].split(", "))
        assert set(bench.asker.unknown["default"]) >= {FRANK, ERIN, GRACE}
        assert bench.metric(NEXT) is None


# --- secrets ----------------------------------------------------------------------------------------------------------


def _full_of_secrets(page: str) -> Iterator[str]:
    """A provider's page with a secret in place of each text, and as a name beside each name."""
    told, secret = json.loads(page), secrets()[3]

    def spoilt(value: Any) -> Any:
        if isinstance(value, dict):
            return {secret: secret} | {name: spoilt(inner) for name, inner in value.items()}
        if isinstance(value, list):
            return [secret, *map(spoilt, value)]
        return secret if isinstance(value, str) else value

    yield json.dumps(spoilt(told))
    yield json.dumps(told | dict.fromkeys(("user", "plan_type", "subscription_tier_display"), secret))
    yield json.dumps({"error": {"type": secret, "message": secret}})
    yield f"<html>{secret}</html>"


@pytest.mark.parametrize("name", [ALICE, "codex-carol", ERIN, FRANK, GRACE])
def test_no_secret_in_an_answer_gets_out(tmp_path: Path, name: str) -> None:
    log = io.StringIO()
    configure_logging("debug", "logfmt", stream=log)
    texts: dict[str, str] = {}
    with _bench(tmp_path, name) as bench:
        page = call_of(BY_NAME[name].provider).url
        answer = vendor_answer(BY_NAME[name], page, bench.clock.now())
        assert answer is not None
        for body in _full_of_secrets(answer[1]):
            bench.vendors.order(name, 200, body=body)
            bench.pass_time(HOUR + 20 * MINUTE, step=300)
        texts |= {"metrics": bench.metrics, "windows": repr(bench.windows())}
    assert secrets_found(secrets(), texts=texts | {"log": log.getvalue()}, data_dir=tmp_path) == []
    configure_logging("info", "logfmt", stream=io.StringIO())
