"""A real Chromium for tests: where it is, and pages that report the browser's complaints.

Tests that need it fail without it and say what to do. ``scripts/fetch-chromium`` fetches it; ``TEST_CHROMIUM`` names
another executable.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest
from playwright.sync_api import Browser, Error, Page, expect, sync_playwright

from tests.stack.waiting import PATIENCE_SECONDS

_TOOLS = Path(__file__).resolve().parents[3] / ".tools"
_AXE = _TOOLS / "pages" / "node_modules" / "axe-core" / "axe.min.js"
# Root has no sandbox, and a container has no graphics.
_SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
_RULES_ABOUT_COLOURS = ["color-contrast", "link-in-text-block"]
_ARGUMENTS = ["--no-sandbox", "--no-zygote", "--disable-gpu"]


@contextmanager
def run_chromium() -> Iterator[Browser]:
    """A headless Chromium; fails the test if there is none."""
    given = os.environ.get("TEST_CHROMIUM")
    packaged = _TOOLS / "chromium"
    executable = Path(given) if given else packaged / "chromium"
    if not executable.exists() or not _AXE.exists():
        pytest.fail(
            f"This test needs Chromium and axe-core, not found at {executable} and {_AXE}: run make test (or"
            " scripts/fetch-chromium), or set TEST_CHROMIUM.",
            pytrace=False,
        )
    environment: dict[str, str | float | bool] = dict(os.environ)
    if not given:
        environment |= {
            "LD_LIBRARY_PATH": str(packaged / "al2023" / "lib"),
            "FONTCONFIG_PATH": str(packaged / "fonts"),
        }
    expect.set_options(timeout=PATIENCE_SECONDS * 1000)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=executable, args=_ARGUMENTS, env=environment, timeout=PATIENCE_SECONDS * 1000
        )
        try:
            yield browser
        finally:
            _IDLE.clear()
            browser.close()


@dataclass
class Seen:
    """An open page and the browser's complaints about it: console errors and warnings, exceptions, other hosts."""

    page: Page
    complaints: list[str] = field(default_factory=list)


_IDLE: dict[tuple[Browser, bool, str], Page] = {}
"""Empty pages that the next test may use: making one takes longer than to load what the test wants to see."""


@contextmanager
def opened(
    browser: Browser,
    url: str,
    *,
    width: int = 1280,
    height: int = 900,
    scheme: Literal["light", "dark"] = "light",
    javascript: bool = True,
    language: str = "en-US",
) -> Iterator[Seen]:
    """A page that shows ``url``. The profile may have shown other pages: ours keep nothing in it."""
    profile = browser, javascript, language
    page = _IDLE.pop(profile, None) or _new_page(browser, javascript=javascript, language=language)
    page.set_viewport_size({"width": width, "height": height})
    page.emulate_media(color_scheme=scheme)
    seen = Seen(page)
    heard: dict[Any, Callable[[Any], None]] = {
        "console": lambda said: seen.complaints.append(said.text) if said.type in ("error", "warning") else None,
        "pageerror": lambda error: seen.complaints.append(str(error)),
        "request": lambda asked: None if asked.url.startswith(url) else seen.complaints.append(f"asks {asked.url}"),
    }
    for event, listener in heard.items():
        page.on(event, listener)
    try:
        page.goto(url)
        yield seen
    except BaseException:
        page.context.close()
        raise
    assert page.context.cookies() == []
    for event, listener in heard.items():
        page.remove_listener(event, listener)
    page.goto("about:blank")
    _IDLE[profile] = page


def _new_page(browser: Browser, *, javascript: bool, language: str) -> Page:
    context = browser.new_context(java_script_enabled=javascript, locale=language)
    context.set_default_timeout(PATIENCE_SECONDS * 1000)
    return context.new_page()


def looks(page: Page) -> Iterator[tuple[int, str]]:
    """Show an open page on a desktop and a phone, in light and dark; yield each width in pixels, with its scheme."""
    for width in (1280, 390):
        page.set_viewport_size({"width": width, "height": 900})
        for scheme in _SCHEMES:
            page.emulate_media(color_scheme=scheme)
            yield width, scheme


def serious_findings(page: Page, scheme: str = "light") -> list[str]:
    """What axe-core calls serious or critical about the accessibility of a page, with the elements concerned.

    In dark it looks at the colours only: the style sheet changes nothing else, and light comes first in ``looks``.
    """
    if page.evaluate("typeof axe") == "undefined":  # the debugger evaluates it, so no policy of the page forbids it
        page.evaluate(_AXE.read_text(encoding="utf-8"))
    # By default it also loads style sheets and media once more, which no rule about something serious reads, and writes
    # down every element that passes, with a selector that fits no other.
    options: dict[str, Any] = {"resultTypes": ["violations"], "selectors": False, "preload": False}
    if scheme == "dark":
        options["runOnly"] = {"type": "rule", "values": _RULES_ABOUT_COLOURS}
    results: dict[str, Any] = page.evaluate("options => axe.run(document, options)", options)
    passes = {rule["id"] for rule in results["passes"]}
    assert passes & set(_RULES_ABOUT_COLOURS), "axe-core has not looked at the page"
    assert scheme == "dark" or len(passes) > 10, "axe-core has not looked at the page"
    return [
        f"{found['id']}: {node['html'][:200]}"
        for found in results["violations"]
        if found["impact"] in ("serious", "critical")
        for node in found["nodes"]
    ]


def picture(page: Page, path: Path, *, full_page: bool = False) -> None:
    """Take a picture of a page. On a busy machine the packaged browser sometimes fails at the first attempt."""
    try:
        page.screenshot(path=path, full_page=full_page)
    except Error:
        page.wait_for_load_state("networkidle")
        page.screenshot(path=path, full_page=full_page)
