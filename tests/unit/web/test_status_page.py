"""The status page as HTML: well formed, and immune to markup in names."""

from collections import Counter
from html.parser import HTMLParser

import pytest

from exporter.sources.proxy_status import STATES, ProxyStatus
from tests.benches.web import WebBench

HOSTILE = [
    "<script>alert(1)</script>",
    "\"><img src=x onerror='alert(1)'>",
    "</style></title></main>",
    "{{ 7 * 7 }}{% raw %}",
    "&lt;b&gt; &amp; 'quote'",
    "javascript:alert(1)",
]

_VOID = {"meta", "link", "br", "hr", "img", "input", "col", "base", "path"}


class Outline(HTMLParser):
    """Reads a page strictly: every opened element must be closed, in order."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: Counter[str] = Counter()
        self.ids: Counter[str] = Counter()
        self.references: list[str] = []
        self.text = ""
        self.declaration = ""
        self.attributes: list[tuple[str, str]] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert not self._open, f"never closed: {self._open}"

    def handle_decl(self, decl: str) -> None:
        self.declaration = decl.lower()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), f"an attribute twice in <{tag}>"
        for name, value in attrs:
            self.attributes.append((name, value or ""))
            if name == "id":
                self.ids[value or ""] += 1
            if name in {"aria-labelledby", "aria-describedby", "for"}:
                self.references += (value or "").split()
        if tag not in _VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in _VOID:
            assert self._open, f"</{tag}> closes nothing"
            assert self._open.pop() == tag, f"</{tag}> closes another one"

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] not in {"style", "script"}:
            self.text += data


def _page(web: WebBench) -> Outline:
    answer = web.client().get("/")
    assert (answer.status_code, answer.content_type) == (200, "text/html; charset=utf-8")
    assert answer.text.startswith("<!doctype html>")
    return Outline(answer.text)


def _assert_is_a_page(page: Outline) -> None:
    assert page.declaration == "doctype html"
    assert [page.tags[tag] for tag in ("html", "head", "title", "body", "main", "h1")] == [1] * 6
    assert ("lang", "en") in page.attributes
    assert ("charset", "utf-8") in page.attributes
    assert max(page.ids.values()) == 1, "an id twice"
    assert set(page.references) <= set(page.ids)


def test_without_a_proxy_the_page_says_so(web: WebBench) -> None:
    page = _page(web)
    _assert_is_a_page(page)
    assert "No proxy is configured." in page.text


def test_every_state_of_a_proxy_is_shown_with_its_sentence(web: WebBench) -> None:
    web.statuses = [
        ProxyStatus(name=f"proxy-{number}", state=state, sentence=f"Sentence {number}: do this & that.")
        for number, state in enumerate(STATES)
    ]
    page = _page(web)
    _assert_is_a_page(page)
    for number, state in enumerate(STATES):
        assert f"proxy-{number} " in page.text
        assert state.replace("_", " ") in page.text
        assert f"Sentence {number}: do this & that." in page.text


@pytest.mark.parametrize("hostile", HOSTILE)
def test_text_from_outside_stays_text(web: WebBench, hostile: str) -> None:
    plain = [ProxyStatus(name="n", state="unreachable", sentence="s", version="v", source="o")]
    web.statuses = plain
    expected = _page(web).tags
    web.statuses = [
        ProxyStatus(
            name=hostile, state="unreachable", sentence=hostile, version=hostile, commit=hostile, source=hostile
        )
    ]
    page = _page(web)
    _assert_is_a_page(page)
    assert page.tags == expected
    assert page.text.count(hostile) >= 3
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    assert not [value for name, value in page.attributes if name in {"href", "src"} and value.startswith("java")]


def test_the_page_loads_nothing_from_elsewhere(web: WebBench) -> None:
    web.statuses = [ProxyStatus(name="n")]
    addresses = [value for name, value in _page(web).attributes if name in {"href", "src", "action", "data"}]
    assert all(value.startswith(("./", "#", "data:")) for value in addresses)
    policy = web.client().get("/").headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
