"""The pages about usage and requests in a real browser: on a desktop and a phone, in light and dark, by keyboard."""

import re
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC
from html.parser import HTMLParser
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from exporter.app import Exporter
from exporter.settings.proxies import Aliases
from exporter.simulator.world import CLIENTS, LIMITS_FILE, MANAGEMENT_KEY, demo_aliases
from tests.benches.program import metrics_of, running, settings_for
from tests.fakes.noon import BERLIN, NoonClock
from tests.fakes.steered.proxy import SteeredProxy
from tests.fakes.steered.server import SteeredServer
from tests.fakes.steered.traffic import Traffic
from tests.stack import loopback
from tests.stack.pages.browser import looks, opened, run_chromium, serious_findings
from tests.stack.waiting import wait_until

_RECORDS = 1200
_HOSTILE = ["<script>window.owned = 1</script>", "=cmd|' /C calc'!A0", "\u202eevil\u202e", "{{ 7 * 7 }}", "x" * 5000]
_UNREAD = ("bdi", "code", "script", "style", "g")
"""Elements with names or commands, and titles of bars."""
_IN_EVERY_LANGUAGE = {"cliproxy-exporter", "/metrics", "/-/healthy", "/-/ready", "USD", "queue-v", "broken_stream"}
_ENGLISH = re.compile("[A-Za-z]{2,} [a-z]{2,}")
_PATHS = ["/usage", "/usage?by=day&range=24h&show=tokens", "/usage?by=client&model=gpt-5.4", "/requests?range=30d"]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with run_chromium() as chromium:
        yield chromium


@pytest.fixture(scope="module")
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture(scope="module")
def busy(stack: ExitStack, tmp_path_factory: pytest.TempPathFactory) -> Exporter:
    """The demo's people, accounts and limits, with requests of seventy days."""
    proxy = SteeredProxy(key=MANAGEMENT_KEY, retention_seconds=3600, clock=NoonClock())
    proxy.publish(Traffic(seed=5, zone=UTC).batch(_RECORDS, ending=proxy.clock.now(), span_seconds=70 * 86_400))
    return _started(stack, tmp_path_factory.mktemp("busy"), proxy, demo_aliases(), _RECORDS)


@pytest.fixture(scope="module")
def hostile(stack: ExitStack, tmp_path_factory: pytest.TempPathFactory) -> Exporter:
    """Models and clients whose names try to be code."""
    proxy = SteeredProxy(key=MANAGEMENT_KEY, retention_seconds=3600, clock=NoonClock())
    traffic = Traffic(seed=1, zone=UTC).batch(len(_HOSTILE), ending=proxy.clock.now(), span_seconds=60)
    proxy.enqueue(
        attempt.record | {"model": model, "failed": True} for attempt, model in zip(traffic, _HOSTILE, strict=True)
    )
    clients = [{"key": client.key, "alias": f"<b onclick=alert(1)>{client.name}</b>"} for client in CLIENTS]
    aliases = Aliases.model_validate({"clients": clients})
    return _started(stack, tmp_path_factory.mktemp("hostile"), proxy, aliases, len(_HOSTILE))


def _started(stack: ExitStack, folder: Path, proxy: SteeredProxy, aliases: Aliases, records: int) -> Exporter:
    server = stack.enter_context(SteeredServer(proxy))
    settings = settings_for(
        folder / "data",
        proxy_url=server.url,
        key=MANAGEMENT_KEY,
        timezone=str(BERLIN),
        aliases=aliases,
        exporter_limits_file=LIMITS_FILE,
    )
    exporter = stack.enter_context(running(settings, clock=proxy.clock))
    booked = f'cliproxy_exporter_records_booked_total{{proxy="default"}} {records}.0'
    wait_until(lambda: metrics_of(exporter), lambda text: booked in text)
    return exporter


@pytest.mark.parametrize("path", _PATHS)
def test_a_page_is_readable_and_quiet(browser: Browser, busy: Exporter, path: str) -> None:
    with opened(browser, f"{busy.web.url}{path}") as seen:
        page = seen.page
        for width, scheme in looks(page):
            look = f"{width} pixels, {scheme}"
            expect(page.locator("tbody tr").first).to_be_visible()
            assert page.evaluate("document.documentElement.scrollWidth") <= width, f"{look}: it scrolls sideways"
            assert serious_findings(page, scheme) == [], look
            assert page.evaluate("document.body.innerText").count("None") == 0, look
        assert seen.complaints == []


@pytest.mark.parametrize("path", ["/", "/usage", "/requests"])
def test_a_page_in_chinese_is_readable_and_has_no_english_left(browser: Browser, busy: Exporter, path: str) -> None:
    english, chinese = (_texts(busy, path, language) for language in ("en", "zh-CN"))
    assert english & chinese <= _IN_EVERY_LANGUAGE
    assert {text for text in chinese if _ENGLISH.search(text)} == set()
    with opened(browser, f"{busy.web.url}{path}", language="zh-CN") as seen:
        expect(seen.page.locator("html")).to_have_attribute("lang", "zh-Hans")
        for width, scheme in looks(seen.page):
            assert seen.page.evaluate("document.documentElement.scrollWidth") <= width, f"{width} pixels, {scheme}"
            assert serious_findings(seen.page, scheme) == [], f"{width} pixels, {scheme}"
        assert seen.complaints == []


def _texts(exporter: Exporter, path: str, language: str) -> set[str]:
    """The texts of a page, except names and figures."""
    reader = _Reader()
    reader.feed(loopback.get(f"{exporter.web.url}{path}", headers={"Accept-Language": language}).text)
    return reader.texts


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.texts: set[str] = set()
        self._unread = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._unread += tag in _UNREAD
        if not self._unread:
            for name, value in attrs:
                if name in ("aria-label", "data-label") or (name == "title" and tag != "bdi"):
                    self._read(value or "")

    def handle_endtag(self, tag: str) -> None:
        self._unread -= tag in _UNREAD

    def handle_data(self, data: str) -> None:
        if not self._unread:
            self._read(data)

    def _read(self, text: str) -> None:
        text = " ".join(re.sub(r"cliproxy-exporter [a-z]+|[^\w\s/_-]|\d", "", text).split())  # commands have one name
        if re.search("[A-Za-z]{2}", text):
            self.texts.add(text)


@pytest.mark.parametrize("javascript", [True, False])
def test_a_reader_drills_down_and_back_without_javascript(browser: Browser, busy: Exporter, javascript: bool) -> None:
    with opened(browser, busy.web.url, javascript=javascript) as seen:
        page = seen.page
        page.get_by_role("link", name="Usage", exact=True).click()
        everything = _requests(page)
        page.get_by_role("link", name="gpt-5.4", exact=True).click()
        of_model = _requests(page)
        assert 0 < of_model < everything
        expect(page.locator("#asking")).to_contain_text("Model gpt-5.4")
        page.get_by_role("navigation", name="Sum by").get_by_role("link", name="Client", exact=True).click()
        page.locator("#table tbody a").first.click()
        assert 0 < _requests(page) < of_model
        page.get_by_role("link", name="Single requests: failed and most expensive").click()
        expect(page.locator("#dearest tbody tr").first).to_contain_text("gpt-5.4")
        page.get_by_role("link", name="Remove the filter by client").click()
        page.get_by_role("link", name="The sums of this range").click()
        assert _requests(page) == of_model
        page.get_by_role("link", name="7 days").click()
        page.get_by_role("link", name="Tokens", exact=True).first.click()
        expect(page.locator("#chart-title")).to_have_text("Tokens by day")
        assert seen.complaints == []


def _requests(page: Page) -> int:
    """The requests of the range, as its card shows them."""
    text = page.locator("[aria-labelledby=use-title] dd").first.inner_text()
    return int(text.split()[0].replace(",", ""))


def test_a_form_asks_for_other_days_and_keeps_the_filters(browser: Browser, busy: Exporter) -> None:
    with opened(browser, f"{busy.web.url}/usage?by=client&provider=claude", javascript=False) as seen:
        page = seen.page
        page.locator("input[name=since]").fill("2026-01-05")
        page.locator("input[name=until]").fill("2026-01-12")
        page.get_by_role("button").last.click()

        expect(page.locator("#asking-title")).to_have_text("2026-01-05 00:00 to 2026-01-12 00:00")
        expect(page.locator("#asking")).to_contain_text("Provider claude")
        expect(page.locator("#table-title")).to_have_text("By client")
        assert seen.complaints == []


def test_the_table_can_be_downloaded(browser: Browser, busy: Exporter) -> None:
    with opened(browser, f"{busy.web.url}/usage?by=provider") as seen:
        rows = seen.page.locator("#table tbody tr").count()
        with seen.page.expect_download() as download:
            seen.page.get_by_role("link", name="This table as CSV").click()

        assert download.value.suggested_filename == "usage-by-provider.csv"
        assert len(download.value.path().read_text(encoding="utf-8").splitlines()) == rows + 1


_IS_SHOWN = """() => {
    const { x, y, width, height } = document.activeElement.getBoundingClientRect();
    return document.activeElement.contains(document.elementFromPoint(x + width / 2, y + height / 2));
}"""


@pytest.mark.parametrize("width", [1280, 390])
def test_every_stop_of_the_keyboard_is_visible(browser: Browser, busy: Exporter, width: int) -> None:
    with opened(browser, f"{busy.web.url}/usage", width=width) as seen:
        stops = seen.page.locator("a[href], button, select").count()
        for _ in range(stops):
            seen.page.keyboard.press("Tab")
            outline = seen.page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
            assert outline == "solid", seen.page.evaluate("document.activeElement.outerHTML")
            assert seen.page.evaluate(_IS_SHOWN), seen.page.evaluate("document.activeElement.outerHTML")


def test_long_names_break_no_word_in_the_head_of_a_table(browser: Browser, hostile: Exporter) -> None:
    with opened(browser, f"{hostile.web.url}/requests", width=1000) as seen:
        assert seen.page.locator("thead th").count() > 0
        # Of a word that is broken, the letters stand on two lines.
        broken = seen.page.evaluate("""[...document.querySelectorAll("thead th")].filter(head => {
            const range = document.createRange()
            range.selectNodeContents(head)
            return !/\\s/.test(head.textContent) && new Set([...range.getClientRects()].map(at => at.top)).size > 1
        }).map(head => head.textContent)""")
        assert broken == []


def test_long_names_break_no_time(browser: Browser, hostile: Exporter) -> None:
    with opened(browser, f"{hostile.web.url}/requests", width=1000) as seen:
        broken = seen.page.evaluate("""[...document.querySelectorAll("tbody th")].filter(time => {
            const range = document.createRange()
            range.selectNodeContents(time)
            return range.getClientRects().length > 1
        }).map(time => time.textContent)""")
        assert seen.page.locator("tbody th").count() > 0
        assert broken == []


@pytest.mark.parametrize("path", ["/usage", "/usage?by=client", "/requests", "/usage?by=provider&show=requests"])
def test_names_from_outside_are_shown_as_text(browser: Browser, hostile: Exporter, path: str) -> None:
    with opened(browser, f"{hostile.web.url}{path}") as seen:
        page = seen.page

        assert page.evaluate("window.owned") is None
        assert page.locator("img, b[onclick], bdi script, iframe").count() == 0
        if path in ("/usage", "/requests"):
            expect(page.locator("main")).to_contain_text(_HOSTILE[0])
            expect(page.locator("main")).to_contain_text("{{ 7 * 7 }}")
        for width, scheme in looks(page):
            assert page.evaluate("document.documentElement.scrollWidth") <= width, f"{width} pixels, {scheme}"
            assert serious_findings(page, scheme) == [], f"{width} pixels, {scheme}"
        assert seen.complaints == []


# --- the page that says what is now ----------------------------------------------------------------------------------


def test_a_phone_shows_the_demo_in_a_few_screens_with_a_card_for_each_account(browser: Browser, busy: Exporter) -> None:
    wait_until(lambda: len(busy.parts.limits.current.windows), lambda number: number > 10)
    with opened(browser, busy.web.url, width=390) as seen:
        owners = [row.inner_text() for row in seen.page.locator("#limits .owner b").all()]

        assert seen.page.evaluate("document.documentElement.scrollHeight") < 4000
        assert len(owners) == len(set(owners)) == seen.page.locator("#limits tbody").count()
        assert "claude-alice" in owners
        expect(seen.page.locator("#limits .owner").first).to_be_visible()
    with opened(browser, busy.web.url) as seen:
        expect(seen.page.locator("#limits .owner").first).to_contain_text(owners[0])
