"""Messages leave through real services, and undelivered ones are kept."""

from collections.abc import Iterator
from datetime import UTC
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from exporter.errors import SettingsError
from exporter.ledger.ledger import Ledger
from exporter.ledger.shown_names import ShownNames
from exporter.limits.board import Board, LimitBoard
from exporter.limits.model import PROVIDER, SHARE, LimitWindow, Thresholds
from exporter.limits.notices import Notifier, Services
from exporter.settings.proxies import Aliases
from tests.fakes.guarding import TurnableClock
from tests.fakes.receivers import WebReceiver, web_receiver

NOBODY = "json://127.0.0.1:9/planted-token"


@pytest.fixture
def receiver() -> Iterator[WebReceiver]:
    with web_receiver() as running:
        yield running


class _Bench:
    def __init__(self, folder: Path) -> None:
        self.clock = TurnableClock()
        self.ledger = Ledger(folder / "ledger.sqlite3", clock=self.clock, zone=UTC)
        shown_names = ShownNames(self.ledger.name_store, Aliases(), str)
        self.board = LimitBoard(ledger=self.ledger, shown_names=shown_names, clock=self.clock)

    def show(self, used: float) -> None:
        now_ms = int(self.clock.now() * 1000)
        window = LimitWindow(
            proxy="home", limit="7d", kind=PROVIDER, provider="codex", credential="codex-bob", scope="", window="7d",
            unit=SHARE, used_ratio=used, thresholds=Thresholds(), observed_ms=now_ms,
        )  # fmt: skip
        self.board.current = Board(at_ms=now_ms, windows=(window,))

    def notifier(self, *urls: str) -> Notifier:
        return Notifier(self.board, Services(urls), stopping=bool)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[_Bench]:
    bench = _Bench(tmp_path)
    yield bench
    bench.ledger.close()


def _url(receiver: WebReceiver) -> str:
    return receiver.url.replace("http://", "json://")


def _messages(receiver: WebReceiver) -> list[Any]:
    return [(posted.body["title"], posted.body["type"]) for posted in receiver.received]


def test_a_warning_arrives_once_across_restarts(bench: _Bench, receiver: WebReceiver) -> None:
    bench.show(0.85)
    for _ in range(2):
        notifier = bench.notifier(_url(receiver))
        notifier.work()
        notifier.work()

    assert _messages(receiver) == [("codex-bob: 7d limit 85% used", "warning")]


def test_an_unknown_window_is_no_news(bench: _Bench, receiver: WebReceiver) -> None:
    notifier = bench.notifier(_url(receiver))
    bench.show(0.85)
    notifier.work()
    for _ in range(2):
        bench.clock.advance(5 * 3600)
        bench.board.current = Board(at_ms=bench.clock.now_ms())
        notifier.work()

    assert len(_messages(receiver)) == 1


def test_a_message_that_nobody_accepted_is_sent_later(
    bench: _Bench, receiver: WebReceiver, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(0)
    bench.show(0.96)
    with capture_logs() as events:
        bench.notifier(NOBODY).work()
    assert [(event["event"], event["services"]) for event in events] == [("notice_not_taken", "1 (JSON)")]
    notifier = bench.notifier(_url(receiver))
    notifier.work()

    assert _messages(receiver) == [("codex-bob: 7d limit 96% used", "failure")]
    assert "planted-token" not in "".join([*capsys.readouterr(), caplog.text])


def test_sending_pauses_after_a_failure(bench: _Bench, receiver: WebReceiver) -> None:
    bench.show(0.96)
    notifier = bench.notifier(NOBODY)
    notifier.work()
    notifier._services = Services([_url(receiver)])
    notifier.work()
    before = _messages(receiver)
    bench.clock.advance(31)
    notifier.work()

    assert before == []
    assert len(_messages(receiver)) == 1


def test_pauses_grow_until_a_message_is_accepted(bench: _Bench, receiver: WebReceiver) -> None:
    notifier = bench.notifier(NOBODY)
    nobody, somebody = notifier._services, Services([_url(receiver)])
    bench.show(0.85)
    for seconds in (0, 31):  # the second pause is twice as long
        bench.clock.advance(seconds)
        notifier.work()
    notifier._services = somebody
    for seconds, accepted in ((31, 0), (30, 1)):
        bench.clock.advance(seconds)
        notifier.work()
        assert len(receiver.received) == accepted

    bench.show(0.96)
    for services, seconds in ((nobody, 0), (somebody, 31)):
        notifier._services = services
        bench.clock.advance(seconds)
        notifier.work()
    assert len(receiver.received) == 2, "the first pause again"


def test_nothing_is_sent_before_the_first_look_or_once_the_program_stops(bench: _Bench, receiver: WebReceiver) -> None:
    bench.notifier(_url(receiver)).work()
    bench.show(0.96)
    Notifier(bench.board, Services([_url(receiver)]), stopping=lambda: True).work()

    assert receiver.received == []
    with capture_logs() as events:
        bench.notifier(_url(receiver)).work()
    assert [event["event"] for event in events] == ["notice_sent"]


def test_a_service_that_breaks_down_does_not_keep_a_message_from_others(receiver: WebReceiver) -> None:
    services = Services([NOBODY, _url(receiver)])
    del vars(services._services["1 (JSON)"])["host"]

    assert services.send("warning", "title", "text") == ["1 (JSON)"]
    assert _messages(receiver) == [("title", "warning")]


def test_a_failing_service_does_not_make_others_receive_messages_twice(bench: _Bench, receiver: WebReceiver) -> None:
    bench.show(0.85)
    notifier = bench.notifier(NOBODY, _url(receiver))
    notifier.work()
    bench.clock.advance(3600)
    notifier.work()

    assert len(_messages(receiver)) == 1


@pytest.mark.parametrize("url", ["nonsense", "nosuch://planted-token", ""])
def test_a_url_that_apprise_does_not_know_is_named_by_its_number(url: str) -> None:
    with pytest.raises(SettingsError, match="number 2") as raised:
        Services([NOBODY, url])

    assert "planted-token" not in str(raised.value)
