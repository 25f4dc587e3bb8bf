"""The status page in a real browser: every state, on a desktop and a phone, in light and dark."""

import re
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC
from decimal import Decimal
from functools import partial
from operator import lt
from pathlib import Path
from urllib.parse import urljoin

import pytest
from playwright.sync_api import Browser, Page, expect
from prometheus_client.parser import text_string_to_metric_families

from exporter.app import Exporter
from exporter.days import day_start_ms, local_date, previous_day
from exporter.settings.model import Settings
from exporter.settings.proxies import Aliases
from exporter.simulator.world import CLIENTS, LIMITS_FILE, MANAGEMENT_KEY
from tests.benches.program import metrics_of, polls_of, running, settings_for
from tests.fakes.guarding import TurnableClock
from tests.fakes.noon import BERLIN, NoonClock
from tests.fakes.planted import secrets
from tests.fakes.steered.proxy import SteeredProxy
from tests.fakes.steered.server import SteeredServer
from tests.fakes.steered.traffic import Traffic
from tests.stack import loopback
from tests.stack.pages.browser import looks, opened, run_chromium, serious_findings
from tests.stack.running import metric_in
from tests.stack.waiting import wait_until

_TEMPLATES = Path(__file__).resolve().parents[2] / "exporter" / "web" / "templates"
_RECORDS = 1500
_NAMES = {"Spent": "metered", "Subscription value": "subscription", "Unknown billing": "unknown"}
_FIGURES = "#periods, #by-model, #by-client, #by-credential"
_HOSTILE_MODELS = [
    "<script>window.owned = 1</script>",
    '<img src=x onerror="window.owned = 1">\'"',
    "\u202eevil-rtl\u202e \u05e9\u05dc\u05d5\u05dd",
    "line\nbreak\ttab",
    "{{ 7 * 7 }}{% raw %}",
    "x" * 10_000,
    "long words that wrap " * 400,
]
_HOSTILE_ALIAS = "<b onclick=alert(1)>\u05d0 & 'co'</b>"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with run_chromium() as chromium:
        yield chromium


Start = Callable[[str], Exporter]


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start]:
    """Starts the exporter in one of the states, when the first test asks for it."""
    started: dict[str, Exporter] = {}
    with ExitStack() as stack:

        def get(state: str) -> Exporter:
            if state not in started:
                started[state] = _started(state, stack, tmp_path_factory.mktemp(state))
            return started[state]

        yield get


def _started(state: str, stack: ExitStack, folder: Path) -> Exporter:
    key = "another-key" if state == "key refused" else MANAGEMENT_KEY
    proxy = SteeredProxy(key=key, retention_seconds=3600, clock=NoonClock())
    proxy.publishing = state != "publishing off"
    server = stack.enter_context(SteeredServer(proxy))
    aliases = Aliases()
    if state == "busy":
        _publish(proxy, _RECORDS)
    if state == "hostile":
        traffic = Traffic(seed=1, zone=UTC).batch(len(_HOSTILE_MODELS), ending=proxy.clock.now(), span_seconds=60)
        pairs = zip(traffic, _HOSTILE_MODELS, strict=True)
        proxy.enqueue(attempt.record | {"model": model} for attempt, model in pairs)
        clients = [{"key": client.key, "alias": f"{_HOSTILE_ALIAS}{client.name}"} for client in CLIENTS]
        aliases = Aliases.model_validate({"clients": clients})
    url = "http://127.0.0.1:9" if state == "proxy down" else server.url
    clock = TurnableClock(proxy.clock.now()) if state == "another consumer" else None
    limits = LIMITS_FILE if state in ("busy", "hostile") else None
    settings = _settings(folder, url, aliases, limits)
    exporter = stack.enter_context(running(settings, clock=clock or proxy.clock, only_triggered=clock is not None))
    wait_until(lambda: polls_of(exporter))
    if state == "empty":
        wait_until(lambda: exporter.asker.unknown.get("default"))  # the accounts that only asking reveals
    if clock is not None:
        proxy.subscribed = True
        for _ in range(4):
            proxy.publish(Traffic(seed=1, zone=UTC).batch(20, ending=clock.now()))
            clock.advance(61)
            polls = polls_of(exporter)
            exporter.trigger()
            wait_until(lambda: polls_of(exporter), partial(lt, polls))
        assert exporter.statuses()[0].state == "another_consumer"
    if state in ("busy", "hostile"):
        _wait_for_records(exporter, _RECORDS if state == "busy" else len(_HOSTILE_MODELS))
    return exporter


def _settings(folder: Path, url: str, aliases: Aliases, limits: Path | None = None) -> Settings:
    return settings_for(
        folder / "data",
        proxy_url=url,
        key=MANAGEMENT_KEY,
        timezone=str(BERLIN),
        aliases=aliases,
        exporter_limits_file=limits,
    )


def _publish(proxy: SteeredProxy, number: int, *, seed: int = 5) -> None:
    """Publish requests of today and yesterday."""
    now = proxy.clock.now()
    yesterday = day_start_ms(previous_day(local_date(int(now * 1000), BERLIN)), BERLIN) / 1000
    proxy.publish(Traffic(seed=seed, zone=UTC).batch(number, ending=now, span_seconds=now - yesterday - 3600))


def _wait_for_records(exporter: Exporter, number: int) -> None:
    """Wait until they are booked and the periods are up to date."""
    booked = f'cliproxy_exporter_records_booked_total{{proxy="default"}} {number}.0'
    text = wait_until(lambda: metrics_of(exporter), lambda text: booked in text)
    requests = metric_in(text, "cliproxy_requests_total")

    def is_up_to_date(now: Counter[str]) -> bool:
        return now["today requests"] + now["yesterday requests"] == requests

    wait_until(lambda: _gauges(exporter), is_up_to_date)


# --- every state --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "headline"),
    [
        ("empty", "Nothing is wrong"),
        ("busy", r"\d notes"),
        ("proxy down", "1 problem"),
        ("key refused", "1 problem"),
        ("publishing off", "1 problem"),
        ("another consumer", "1 problem"),
    ],
)
def test_a_page_is_readable_and_quiet(browser: Browser, start: Start, state: str, headline: str) -> None:
    with opened(browser, start(state).web.url) as seen:
        page = seen.page
        for width, scheme in looks(page):
            look = f"{width} pixels, {scheme}"
            expect(page.locator("#problems h2")).to_have_text(re.compile(headline))
            assert page.evaluate("document.documentElement.scrollWidth") <= width, f"{look}: it scrolls sideways"
            height = page.evaluate("document.documentElement.scrollHeight")
            assert height < 4000 or width > 390, f"{look}: it is endless on a phone"
            assert serious_findings(page, scheme) == [], look
            assert page.evaluate("document.body.innerText").count("None") == 0, look
        assert seen.complaints == []


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ("proxy down", ["Proxy default cannot be reached", "Is CPA running"]),
        ("key refused", ["Proxy default refuses the management key", "this key is tried again at"]),
        ("publishing off", ["Proxy default does not record usage", "Set usage-statistics-enabled: true"]),
    ],
)
def test_what_is_wrong_comes_first_and_says_what_to_do(
    browser: Browser, start: Start, state: str, words: list[str]
) -> None:
    with opened(browser, start(state).web.url) as seen:
        first = seen.page.locator("main > section").first
        for each in words:
            expect(first).to_contain_text(each)


def test_dark_differs_from_light_in_colours_only() -> None:
    """So a page is looked at for other faults in light alone."""
    text = "".join(file.read_text(encoding="utf-8") for file in _TEMPLATES.iterdir())
    _, dark = text.split("prefers-color-scheme: dark")
    rule = re.match(r"\) {\s*:root {([^}]*)}\s*}", dark)
    assert rule
    assert re.sub(r"--[\w-]+: #[0-9a-f]{3,6};", "", rule[1]).split() == []


# --- figures ------------------------------------------------------------------------------------------------------


def _gauges(exporter: Exporter) -> Counter[str]:
    """The period gauges of /metrics as sums: ``today cost metered`` in nano-USD, ``today requests``, with model."""
    sums: Counter[str] = Counter()
    lines = [line for line in metrics_of(exporter).splitlines() if line.startswith("cliproxy_period_")]
    for family in text_string_to_metric_families("\n".join(lines)):
        for sample in family.samples:
            labels = sample.labels
            if sample.name == "cliproxy_period_cost_usd":
                nano_usd = round(sample.value * 1e9)
                sums[f"{labels['period']} {labels['billing']}"] += nano_usd
                sums[f"{labels['period']} {labels['billing']} {labels['model']} {labels['provider']}"] += nano_usd
            elif sample.name in ("cliproxy_period_requests", "cliproxy_period_tokens"):
                what = sample.name.removeprefix("cliproxy_period_")
                sums[f"{labels['period']} {what}"] += int(sample.value)
    return +sums


def _shown(page: Page) -> Counter[str]:
    """The same sums as a reader finds them on the page, with exact values from the tooltips."""
    sums: Counter[str] = Counter()
    for card, period in enumerate(("today", "yesterday", "month"), start=1):
        for line in page.locator(f"[aria-labelledby=period-{card}] dl > div").all():
            term = line.locator("dt").inner_text()
            value = line.locator("dd")
            # Small numbers have no tooltip, and neither has a share of failures of 0, as is usual soon after midnight.
            exact = value.locator("[title]").get_attribute("title") if term not in ("Requests", "Failed") else None
            if term in _NAMES:
                sums[f"{period} {_NAMES[term]}"] += _nano(exact)
            elif term != "Failed":
                sums[f"{period} {term.lower()}"] += int((exact or value.inner_text()).replace(",", ""))
    for row in page.locator("#by-model tbody tr").all():
        name = row.locator("th").inner_text()
        cells = row.locator("td[data-label^=Spent], td[data-label^=Value]").locator("[title]")
        for cell, key in enumerate(("today metered", "today subscription", "month metered", "month subscription")):
            sums[f"{key} {name}"] += _nano(cells.nth(cell).get_attribute("title"))
    return +sums


def _nano(exact: str | None) -> int:
    assert exact is not None
    return int(Decimal(exact.removesuffix(" USD").replace(",", "")).scaleb(9))


def test_figures_are_those_of_metrics(browser: Browser, start: Start) -> None:
    exporter = start("busy")
    with opened(browser, exporter.web.url) as seen:
        shown = _shown(seen.page)
    gauges = _gauges(exporter)

    assert shown == Counter({key: value for key, value in gauges.items() if not _is_yesterday_of_model(key)})
    assert gauges["month metered"] > 0
    assert gauges["month subscription"] > 0


def _is_yesterday_of_model(key: str) -> bool:
    return key.startswith("yesterday") and key.count(" ") > 1


def test_a_phone_keeps_the_name_of_an_account_on_one_line(browser: Browser, start: Start) -> None:
    with opened(browser, start("busy").web.url, width=360) as seen:
        row = seen.page.locator("#credentials tbody tr").first
        row.locator("td[data-label=State]").evaluate("each => each.textContent = 'cooling down until 2026-11-30 10:00'")
        name = row.locator("th bdi").first
        assert name.evaluate("each => each.getClientRects().length") == 1, name.text_content()


def test_without_javascript_the_page_says_the_same(browser: Browser, start: Start) -> None:
    texts = []
    for javascript in (True, False):
        with opened(browser, start("busy").web.url, javascript=javascript) as seen:
            texts.append([part.inner_text() for part in seen.page.locator(_FIGURES).all()])
            assert seen.page.locator("noscript").count() == 1

    assert texts[0] == texts[1]
    assert len(texts[0]) == 4


def test_no_secret_is_on_the_page(start: Start) -> None:
    text = loopback.get(start("busy").web.url).text

    assert [secret for secret in secrets() if secret in text] == []


# --- using it -----------------------------------------------------------------------------------------------------


def test_notes_open_and_links_work_by_keyboard(browser: Browser, start: Start) -> None:
    exporter = start("busy")
    with opened(browser, exporter.web.url) as seen:
        page = seen.page
        stops = page.locator("summary, a[href]").count()
        targets = [link.get_attribute("href") for link in page.locator("a").all()]
        reached = []
        for _ in range(stops):
            page.keyboard.press("Tab")
            assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid", "focus is unseen"
            if page.evaluate("document.activeElement.tagName") == "SUMMARY":
                page.keyboard.press("Enter")
            else:
                reached.append(page.evaluate("document.activeElement.getAttribute('href')"))
        expect(page.locator("#problems")).to_contain_text("No price is known for these models")
        page.locator("#problems summary").first.focus()
        page.evaluate("document.getElementById('asof').textContent = 'before'")
        _come_back_to(page)
        expect(page.locator("#asof")).to_contain_text("As of")
        expect(page.locator("#problems summary").first).to_be_focused()
        expect(page.locator("#problems details[open]")).to_have_count(page.locator("#problems details").count())

    assert reached == targets
    assert {"./", "./usage", "./requests", "./metrics", "./-/healthy", "./-/ready"} <= set(reached)
    for target in set(reached):
        assert target.startswith("./"), "the page is below a path of a reverse proxy"
        assert loopback.get(urljoin(f"{exporter.web.url}/", target)).is_success, target


def test_a_screen_reader_announces_another_problem_and_no_other_figure(browser: Browser, start: Start) -> None:
    with opened(browser, start("busy").web.url) as seen:
        for text, live in (("7,777 notes", "off"), ("nothing", "polite"), ("8 notes", "off")):
            seen.page.evaluate("text => { document.getElementById('problems-title').textContent = text }", text)
            seen.page.evaluate("document.getElementById('asof').textContent = 'before'")
            _come_back_to(seen.page)
            expect(seen.page.locator("#asof")).to_contain_text("As of")
            expect(seen.page.locator("#problems")).to_have_attribute("aria-live", live)


def test_the_page_updates_without_a_jump_and_says_when_it_cannot(browser: Browser, tmp_path: Path) -> None:
    proxy = SteeredProxy(retention_seconds=3600, clock=NoonClock())
    _publish(proxy, 300)
    with (
        SteeredServer(proxy) as server,
        running(_settings(tmp_path, server.url, Aliases()), clock=proxy.clock) as exporter,
    ):
        _wait_for_records(exporter, 300)
        with opened(browser, exporter.web.url, width=390) as seen:
            page = seen.page
            seen_at = "document.getElementById('limits').getBoundingClientRect().top"
            page.evaluate("window.scrollTo(0, 700); window.same = true")
            before, top = page.locator("#periods").inner_text(), page.evaluate(seen_at)
            _publish(proxy, 100, seed=6)
            loopback.post(f"{exporter.web.url}/api/collector/trigger")
            _wait_for_records(exporter, 400)

            _come_back_to(page)
            expect(page.locator("#periods")).not_to_have_text(before)
            # A new note above what is on the screen moves the page, and nothing on the screen.
            assert (page.evaluate(seen_at), page.evaluate("window.same")) == (top, True)
            assert seen.complaints == []

            expect(page.locator("#silent")).to_be_hidden()
            page.context.set_offline(True)
            _come_back_to(page)
            expect(page.locator("#silent")).to_contain_text("The exporter does not answer")
            page.context.set_offline(False)
            _come_back_to(page)
            expect(page.locator("#silent")).to_be_hidden()


def _come_back_to(page: Page) -> None:
    """Tell the page, as a browser does, that its tab is shown again; it then refreshes at once."""
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")


def test_names_from_outside_are_shown_as_text(browser: Browser, start: Start) -> None:
    with opened(browser, start("hostile").web.url) as seen:
        page = seen.page
        models = page.locator("#by-model tbody th > bdi:first-child").all_inner_texts()

        assert page.evaluate("window.owned") is None
        assert page.locator("img, b[onclick], bdi script, iframe").count() == 0
        assert {_HOSTILE_MODELS[0], "{{ 7 * 7 }}{% raw %}"} <= set(models)
        assert max(map(len, models)) <= 50
        expect(page.locator("#by-client")).to_contain_text(_HOSTILE_ALIAS)
        for width, scheme in looks(page):
            assert page.evaluate("document.documentElement.scrollWidth") <= width, f"{width} pixels, {scheme}"
            assert serious_findings(page, scheme) == [], f"{width} pixels, {scheme}"
        assert seen.complaints == []
