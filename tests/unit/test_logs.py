"""What an operator finds in the log, and what must not be there."""

import io
import json
import logging
import re
from collections.abc import Callable, Iterator

import pytest
import structlog

from exporter import logs

Lines = Callable[[], list[str]]


@pytest.fixture
def log_to() -> Iterator[Callable[[str, str], Lines]]:
    """Configure logging to a buffer, and restore the process' logging afterwards."""
    root = logging.getLogger()
    level, handlers = root.level, list(root.handlers)
    quiet = {name: logging.getLogger(name).level for name in ("httpx", "httpcore", "werkzeug")}

    def configure(level: str, form: str) -> Lines:
        stream = io.StringIO()
        logs.configure_logging(level, form, stream=stream)
        return lambda: stream.getvalue().splitlines()

    yield configure
    for handler in list(root.handlers):
        if handler not in handlers:
            root.removeHandler(handler)
    root.setLevel(level)
    for name, before in quiet.items():
        logging.getLogger(name).setLevel(before)
    structlog.reset_defaults()


def _fail(text: str) -> None:
    raise ValueError(text)


def test_an_event_is_one_logfmt_line_with_time_level_and_event_first(log_to: Callable[[str, str], Lines]) -> None:
    lines = log_to("info", "logfmt")
    structlog.get_logger().warning("proxy is away", proxy="home", attempts=3, retry=True, cause=None, seconds=0.5)
    (line,) = lines()
    assert re.fullmatch(
        r'ts=\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z level=warning event="proxy is away" '
        r"proxy=home attempts=3 retry=true cause= seconds=0.5",
        line,
    )


@pytest.mark.parametrize(
    ("value", "written"),
    [
        pytest.param("plain-value/1", "value=plain-value/1", id="a plain word stays bare"),
        pytest.param("", 'value=""', id="an empty text is quoted"),
        pytest.param("two words", 'value="two words"', id="a space"),
        pytest.param("a=b", 'value="a=b"', id="an equals sign"),
        pytest.param('say "hi"', 'value="say \\"hi\\""', id="a quote"),
        pytest.param("C:\\x", 'value="C:\\\\x"', id="a backslash"),
        pytest.param("one\nlevel=info", 'value="one\\nlevel=info"', id="a line break cannot forge a line"),
        pytest.param("\x1b[31mred", 'value="\\u001b[31mred"', id="a terminal escape"),
        pytest.param("a\u2028b", 'value="a\\u2028b"', id="a Unicode line separator"),
        pytest.param("a\U000e0001b", 'value="a\\udb40\\udc01b"', id="an invisible tag: logfmt knows no longer escape"),
        pytest.param("Zürich", "value=Zürich", id="letters of any language stay readable"),
        pytest.param(["a", 1], "value=\"['a', 1]\"", id="a list"),
    ],
)
def test_values_stay_on_their_line(log_to: Callable[[str, str], Lines], value: object, written: str) -> None:
    lines = log_to("info", "logfmt")
    structlog.get_logger().info("event", value=value)
    (line,) = lines()
    assert line.endswith(f"event=event {written}")


def test_json_lines_keep_numbers(log_to: Callable[[str, str], Lines]) -> None:
    lines = log_to("info", "json")
    structlog.get_logger().info("two\nlines", count=3, share=0.25, ok=True, nothing=None, items=("a",))
    (line,) = lines()
    event = json.loads(line)
    assert list(event)[:3] == ["ts", "level", "event"]
    assert event["event"] == "two\nlines"
    assert (event["count"], event["share"], event["ok"], event["nothing"], event["items"]) == (
        3,
        0.25,
        True,
        None,
        "('a',)",
    )


def test_log_lines_of_libraries_have_the_same_format_and_name_the_library(log_to: Callable[[str, str], Lines]) -> None:
    lines = log_to("info", "logfmt")
    logging.getLogger("schedule").info("ran %s", "a job")
    (line,) = lines()
    assert line.endswith('level=info event="ran a job" logger=schedule')


@pytest.mark.parametrize("level", ["debug", "error"])
@pytest.mark.parametrize("library", ["httpx", "httpcore", "werkzeug"])
def test_request_lines_of_libraries_are_left_out(log_to: Callable[[str, str], Lines], library: str, level: str) -> None:
    lines = log_to(level, "logfmt")
    logging.getLogger(library).info("GET /")
    assert lines() == []
    logging.getLogger(library).warning("odd")
    assert len(lines()) == (1 if level == "debug" else 0)


@pytest.mark.parametrize(
    ("level", "seen"),
    [("debug", 4), ("info", 3), ("warning", 2), ("error", 1)],
)
def test_level_decides_what_is_written(log_to: Callable[[str, str], Lines], level: str, seen: int) -> None:
    log = structlog.get_logger()
    log_to("error", "logfmt")
    lines = log_to(level, "logfmt")  # configured twice: the later call wins, and no line appears twice
    log.debug("a")
    log.info("b")
    log.warning("c")
    log.error("d")
    assert len(lines()) == seen


@pytest.mark.parametrize("form", ["logfmt", "json"])
def test_registered_secrets_never_reach_a_line(log_to: Callable[[str, str], Lines], form: str) -> None:
    lines = log_to("info", form)
    secrets = ["sk-planted-1", "sk-planted-1-longer", 'pa"ss\\word/1', "schlüssel-9", "4711471147"]
    logs.add_secrets(secrets)
    log = structlog.get_logger()
    for secret in secrets:
        log.info(f"said {secret}", value=secret, inside={"deep": [secret]}, key=f"Bearer {secret}.")
        logging.getLogger("library").warning("got %s", secret)
        try:
            _fail(f"bad {secret}")
        except ValueError:
            log.exception("failed")
    log.info("url", url="http://x/?k=pa%22ss%5Cword%2F1", number=4711471147)
    text = "\n".join(lines())
    assert "[redacted]" in text
    for trace in [*secrets, "-longer", "ss\\\\word", "schl\\u00fcssel", "%5Cword"]:
        assert trace not in text


def test_secrets_of_a_few_characters_do_not_black_out_the_log(log_to: Callable[[str, str], Lines]) -> None:
    lines = log_to("info", "logfmt")
    logs.add_secrets(["", "a"])
    structlog.get_logger().info("a banana")
    assert 'event="a banana"' in lines()[0]


def test_a_traceback_is_one_line(log_to: Callable[[str, str], Lines]) -> None:
    lines = log_to("info", "logfmt")
    try:
        _fail("boom")
    except ValueError:
        structlog.get_logger().exception("failed")
    (line,) = lines()
    assert "ValueError: boom" in line


def test_a_record_that_cannot_be_formatted_is_logged_without_its_arguments(
    log_to: Callable[[str, str], Lines], capsys: pytest.CaptureFixture[str]
) -> None:
    lines = log_to("info", "logfmt")
    # pytest's own handler re-raises formatting errors; this test is only about ours.
    logger = logging.getLogger("careless")
    logger.addHandler(logging.getLogger().handlers[-1])
    logger.propagate = False
    logger.info("%d", "not-registered-secret")
    logger.handlers.clear()
    logger.propagate = True
    assert lines() == ['level=error event="a log record could not be written" logger=careless']
    assert "not-registered-secret" not in capsys.readouterr().err
