"""Languages: which one a page uses, and that its catalogue has every text of the pages."""

from collections.abc import Callable
from datetime import UTC
from functools import partial
from pathlib import Path
from string import Formatter

import pytest
from babel.messages.catalog import Message
from flask import Flask

from exporter.limits.limit_file import read_limit_file
from exporter.pricing.price_file import read_price_file
from exporter.sentences import counted, joined, say
from exporter.settings.load import read_aliases
from exporter.settings.problems import ProblemsError
from exporter.sources.proxy_status import ProxyStatus
from exporter.web.rendering import LANGUAGES as SPOKEN
from exporter.web.rendering import add_filters, said
from tests.benches.limits import STRATEGIES
from tests.benches.web import WebBench
from tests.stack.pages import translations

_ENGLISH = ("en", "No failed request is kept from this range.")
_CHINESE = ("zh-Hans", "此时间范围内没有保留失败的请求。")


@pytest.mark.parametrize(
    ("asked", "setting", "spoken"),
    [
        ("", "auto", _ENGLISH),
        ("zh-CN,zh;q=0.9,en;q=0.8", "auto", _CHINESE),
        ("fr, ZH-TW;q=0.5", "auto", _CHINESE),
        ("en-GB,zh;q=0.5", "auto", _ENGLISH),
        ("en;q=0.3,zh;q=0.7", "auto", _CHINESE),
        ("zh;q=0", "auto", _ENGLISH),
        ("fr,*;q=0.5", "auto", _ENGLISH),
        ("x" * 5000 + ";q=\x00", "auto", _ENGLISH),
        ("zh", "en", _ENGLISH),
        ("en", "zh", _CHINESE),
    ],
)
def test_the_browser_or_the_setting_chooses(web: WebBench, asked: str, setting: str, spoken: tuple[str, str]) -> None:
    answer = web.client(language=setting).get("/requests", headers={"Accept-Language": asked})

    tag, sentence = spoken
    assert f'<html lang="{tag}">' in answer.text
    assert sentence in answer.text
    assert answer.headers["Vary"] == "Accept-Language"


def test_a_problem_is_translated_and_its_names_stay_names(web: WebBench) -> None:
    name = "{0.__class__}%(n)s<b>"
    sentence = say("{where} speaks TLS only. Write https:// in the proxy's URL.", where=name)
    web.statuses = [ProxyStatus(name=name, state="unreachable", sentence=sentence)]
    page = web.client().get("/", headers={"Accept-Language": "zh"}).text

    assert "1 个问题" in page
    assert "</span> 代理 <bdi" in page
    assert "无法连接。" in page
    assert page.count("{0.__class__}%(n)s&lt;b&gt;只支持 TLS。请在代理的 URL 中写 https://。") == 2


def test_programs_get_english(web: WebBench) -> None:
    client = web.client(language="zh")

    for path in ("/metrics", "/-/ready", "/api/usage?range=x"):
        answer = client.get(path, headers={"Accept-Language": "zh"})
        assert answer.get_data(as_text=True).isascii() or path == "/metrics", path
    assert "此" not in client.get("/metrics").get_data(as_text=True)


def test_parts_of_a_sentence_are_translated_too() -> None:
    app = Flask("exporter.web.site")
    add_filters(app, language="zh")
    with app.test_request_context():
        told = joined(say("at {moment}", moment="12:00"), say("read {ago}", ago=say("{number} h ago", number=3)))
        assert said(told) == " 12:00 3 小时前读取"
        assert (
            said(counted("There is {number} more problem.", "There are {number} more problems.", 2))
            == "另有 2 个问题。"
        )
        assert said("no Sentence") == "no Sentence"
        assert said(say("not in the catalogue: {n}", n=1)) == "not in the catalogue: 1"


@pytest.mark.parametrize(
    ("read", "text", "english", "chinese"),
    [
        (
            partial(read_limit_file, zone=UTC),
            "limits:\n- {id: day, strategy: dayly, usd: 5}\n- {id: day, strategy: daily, usd: '0,5'}",
            "EXPORTER_LIMITS_FILE (file.yaml:2): 'dayly' is not accepted."
            f" Use {STRATEGIES}. There are 2 more problems.",
            f"不接受 'dayly'。请用 {STRATEGIES.replace(' or ', ' 或 ')}。",
        ),
        (
            read_price_file,
            "prices:\n- {model: 'm{0}', input: free}",
            "EXPORTER_PRICES_FILE (file.yaml:2): 'free' is not a price."
            " Give USD per million tokens, for example 3 or 0.075, with six decimals at most.",
            "'free' 不是价格。请写每百万 Token 的美元价",
        ),
        (
            read_aliases,
            "aliases:\n  clients:\n  - {label: client-{0}, alias: a}",
            "EXPORTER_CONFIG (file.yaml:3): This is not YAML: expected ',' or '}', but got '{'."
            " Check the indentation, and put quotes around special characters, also in the line before.",
            "并给特殊字符加引号",
        ),
        (
            read_aliases,
            "aliases:\n  clients:\n  - {lable: client-1, alias: a}",
            "aliases.clients[0].lable (file.yaml:3): 'lable' is unknown here. Did you mean label?",
            "此处不认识 'lable'。是不是想写 label",
        ),
    ],
)
def test_a_mistake_in_a_file_is_translated(
    tmp_path: Path, read: Callable[[Path], object], text: str, english: str, chinese: str
) -> None:
    file = tmp_path / "file.yaml"
    file.write_text(text)
    with pytest.raises(ProblemsError) as caught:
        read(file)
    app = Flask("exporter.web.site")
    add_filters(app, language="zh")

    assert caught.value.first == english
    with app.test_request_context():
        assert chinese in said(caught.value.first)


# --- catalogues ---------------------------------------------------------------------------------------------------


def test_each_language_has_a_catalogue() -> None:
    assert sorted({*translations.LANGUAGES, "en"}) == sorted(SPOKEN)


@pytest.mark.parametrize("language", translations.LANGUAGES)
def test_a_catalogue_has_exactly_the_texts_of_the_pages(language: str) -> None:
    catalogue = translations.read(language)
    said_today = {message.id for message in translations.said_today() if message.id}
    known = {message.id for message in catalogue if message.id}

    assert said_today - known == set(), "run make languages, then translate what is new"
    assert known - said_today == set(), "run make languages"
    assert [message.id for message in catalogue if message.id and not all(_texts(message.string))] == []
    assert [message.id for message in catalogue if message.fuzzy and message.id] == []
    assert [message.id for message in catalogue if message.id and not _agree(message)] == []


@pytest.mark.parametrize("language", translations.LANGUAGES)
def test_the_program_reads_what_the_translator_wrote(language: str) -> None:
    written, compiled = (
        {_texts(message.id): _texts(message.string) for message in catalogue if message.id}
        for catalogue in (translations.read(language), translations.read_compiled(language))
    )

    assert compiled == written, "run make languages"


def _texts(of: str | tuple[str, ...] | list[str] | None) -> tuple[str, ...]:
    return (of,) if isinstance(of, str) else tuple(of or ("",))


def _agree(message: Message) -> bool:
    """Whether a translation has the placeholders of the original."""
    originals, translated = _texts(message.id), _texts(message.string)
    wanted = set().union(*map(_placeholders, originals))
    return all(_placeholders(text) == wanted for text in translated)


def _placeholders(text: str) -> set[str]:
    if "%(" in text or "%%" in text:
        found: set[str] = set()

        class _Noted(dict[str, str]):
            def __missing__(self, key: str) -> str:
                found.add(key)
                return ""

        _ = text % _Noted()
        return found
    return {name.partition(".")[0] for _, name, _, _ in Formatter().parse(text) if name is not None}
