"""The limits file: what it may contain, and the message for each mistake."""

from datetime import UTC, date, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from exporter.limits.limit_file import LimitSet, read_limit_file
from exporter.limits.model import Per, Thresholds, Unit
from exporter.limits.strategies import Strategy
from exporter.settings.problems import ProblemsError
from tests.benches.limits import limits_of

_GOOD = "limits:\n- id: a\n  tokens: 5\n  strategy: daily\n"
_BERLIN = ZoneInfo("Europe/Berlin")


def _file(folder: Path, content: str | bytes) -> LimitSet:
    path = folder / "limits.yaml"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return read_limit_file(path, zone=UTC)


def _problems(folder: Path, content: str | bytes) -> list[str]:
    with pytest.raises(ProblemsError) as raised:
        _file(folder, content)
    return [str(problem) for problem in raised.value.problems]


# --- what may be written ----------------------------------------------------------------------------------------------


def test_everything_that_a_limit_may_contain_is_read(tmp_path: Path) -> None:
    first, second = limits_of(
        tmp_path,
        """\
        defaults: {warning: 0.5, critical: 0.7}
        limits:
          - id: team
            name: Our team
            provider: Claude
            proxy: office
            models: [claude-opus-*, "model[1m]"]
            model_pattern: opus
            credential: claude-ab*
            client: alice
            tokens: 5_000_000
            requests: 100
            usd: 12.50
            strategy: session
            window_minutes: 300
            per: credential
            warning: 0.6
            critical: 1
            timezone: Asia/Kathmandu
            reset_anchor_timestamp: 2026-11-24T18:30:00.123+01:00
          - id: a.b-c_1
            usd: 0.000000001
            strategy: MONTHLY
        """,
        zone=_BERLIN,
    )
    assert (first.id, first.name, first.provider, first.proxy) == ("team", "Our team", "claude", "office")
    assert (first.models, first.model_pattern) == (("claude-opus-*", "model[1m]"), "opus")
    assert (first.credential, first.client, first.per) == ("claude-ab*", "alice", Per.CREDENTIAL)
    assert first.budgets == ((Unit.TOKENS, 5_000_000), (Unit.REQUESTS, 100), (Unit.USD, 12_500_000_000))
    assert (first.strategy, first.window_ms, first.window) == (Strategy.SESSION, 18_000_000, "5h")
    assert (first.thresholds, str(first.zone)) == (Thresholds(warning=0.6, critical=1.0), "Asia/Kathmandu")
    assert first.anchor_ms == int(datetime(2026, 11, 24, 17, 30, tzinfo=UTC).timestamp()) * 1000 + 123
    assert (second.name, second.strategy, second.window) == ("a.b-c_1", Strategy.MONTHLY, "month")
    assert (second.budgets, second.zone) == (((Unit.USD, 1),), _BERLIN)
    assert second.thresholds == Thresholds(warning=0.5, critical=0.7)


@pytest.mark.parametrize("milliseconds", range(0, 1000, 37))
def test_an_anchor_keeps_its_milliseconds(tmp_path: Path, milliseconds: int) -> None:
    file = _file(tmp_path, f"{_GOOD}  reset_anchor_timestamp: 2026-11-24T17:30:00.{milliseconds:03}Z\n")
    anchor_ms = file.limits[0].anchor_ms
    assert anchor_ms is not None
    assert anchor_ms % 1000 == milliseconds


@pytest.mark.parametrize(
    ("minutes", "window"),
    [(1, "1m"), (90, "90m"), (60, "1h"), (300, "5h"), (1440, "1d"), (10080, "7d"), (527040, "366d")],
)
def test_a_window_is_named_by_its_length(tmp_path: Path, minutes: int, window: str) -> None:
    text = f"limits: [{{id: a, requests: 1, strategy: rolling, window_minutes: {minutes}}}]"
    assert _file(tmp_path, text).limits[0].window == window


@pytest.mark.parametrize(
    ("given", "thresholds"),
    [
        ("", (0.8, 0.95)),
        ("  warning: 0.5\n", (0.5, 0.95)),
        ("  warning: 0.97\n", (0.97, 0.97)),
        ("  critical: 0.5\n", (0.5, 0.5)),
        ("  warning: 0.9\n  critical: 0.9\n", (0.9, 0.9)),
        ("  warning: 1\n", (1.0, 1.0)),
    ],
)
def test_one_threshold_determines_the_other(tmp_path: Path, given: str, thresholds: tuple[float, float]) -> None:
    found = _file(tmp_path, _GOOD + given).limits[0].thresholds
    assert (found.warning, found.critical) == thresholds


def test_a_byte_order_mark_and_windows_line_ends_are_no_problem(tmp_path: Path) -> None:
    assert _file(tmp_path, "\ufeff" + _GOOD.replace("\n", "\r\n")).limits[0].id == "a"


def test_a_file_may_have_only_thresholds_or_no_limit_yet(tmp_path: Path) -> None:
    file = _file(tmp_path, "defaults:\n  warning: 0.6\n")
    assert (file.limits, file.thresholds) == ((), Thresholds(warning=0.6, critical=0.95))
    assert _file(tmp_path, "limits: []\n") == LimitSet()


# --- what is wrong ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "told"),
    [
        ("tokns: 5", "'tokns' is unknown here. Did you mean tokens?"),
        ("window_minute: 5", "'window_minute' is unknown here. Did you mean window_minutes?"),
        ("zzz: 5", "'zzz' is unknown here. Known here: id, name,"),
        ("requests: 0", "'0' is not a budget in requests. Give a number above 0, for example 5_000_000."),
        ("requests: -3", "'-3' is not a budget in requests. Give a number above 0"),
        ("requests: 1.5", "'1.5' is not a budget in requests. Give a number above 0"),
        ("requests: many", "'many' is not a budget in requests. Give a number above 0"),
        ("requests: [1]", "requests is not a single value. Write one value there."),
        ("requests:", "requests is not a single value. Write one value there."),
        ("requests: 99999999999999999999", "is not a budget in requests. Give a number above 0"),
        ("usd: 0", "'0' is not a budget in usd. Give a number above 0, for example 12.50."),
        ("usd: 0.0000000001", "'0.0000000001' is not a budget in usd."),
        ("usd: -1", "'-1' is not a budget in usd."),
        ("usd: $5", "'$5' is not a budget in usd."),
        ("usd: 1e400", "'1e400' is not a budget in usd."),
        ("usd: .nan", "'.nan' is not a budget in usd."),
        ("window_minutes: 5", "A daily limit follows the calendar. Remove window_minutes, or use the strategy"),
        ("warning: 1.2", "'1.2' is not a threshold. Give a share of the budget above 0 and not above 1"),
        ("warning: 80%", "'80%' is not a threshold. Give a share"),
        ("warning: 0", "'0' is not a threshold. Give a share"),
        ("critical: nan", "'nan' is not a threshold. Give a share"),
        ("critical: .inf", "'.inf' is not a threshold. Give a share"),
        ("critical: -0.5", "'-0.5' is not a threshold. Give a share"),
        (
            "timezone: Europe/Berln",
            "'Europe/Berln' is not a time zone of the IANA database. Did you mean Europe/Berlin?",
        ),
        ("timezone: ../../etc/passwd", "is not a time zone of the IANA database. "),
        ("timezone: Europe", "'Europe' is not a time zone of the IANA database. "),
        ("per: clients", "'clients' is not accepted. Use 'credential', 'client' or 'model'."),
        ("per: key", "'key' is not accepted. Use 'credential', 'client' or 'model'."),
        ("models: []", "models is empty. Add an entry, or remove the line."),
        ("models: [a, {b: c}]", "models[1] is not a single value. Write one value there."),
        ("models:", "models[0] is not a single value. Write one value there."),
        (f"models: {'x' * 201}", "a text of 201 characters is not accepted. Give at most 200 characters."),
        ("models: [a, '']", "models[1] is not a single value. Write one value there."),
        ("name: [x]", "name is not a single value. Write one value there."),
        (r'name: "a\nb"', "It holds a line break or control character. Remove it."),
        (
            f"client: {'x' * 201}",
            "a text of 201 characters is not accepted. Give at most 200 characters.",
        ),
        ("reset_anchor_timestamp: yesterday", "'yesterday' is not a moment. Write it with its offset from UTC, as"),
        ("reset_anchor_timestamp: 2026-11-24T18:30:00", "is not a moment. Write it with its offset from UTC"),
    ],
)
def test_each_mistake_is_reported_with_its_line_and_what_to_do(tmp_path: Path, field: str, told: str) -> None:
    (problem,) = _problems(tmp_path, f"{_GOOD}  {field}\n")
    assert problem.startswith("EXPORTER_LIMITS_FILE (limits.yaml:5): ")
    assert told in problem


@pytest.mark.parametrize(
    ("content", "line", "told"),
    [
        ("", 1, "limits is missing. Add limits."),
        ("# nothing but this\n", 1, "limits is missing. Add limits."),
        ("limits:\n", 1, "limits is not a list. Begin each entry with a dash."),
        ("limits: {}\n", 1, "limits is not a list. Begin each entry with a dash."),
        ("- a\n", 1, "The file is not a mapping."),
        ("limit: []\n", 1, "'limit' is unknown here. Did you mean limits?"),
        ("limits:\n- just a word\n", 2, "It is not a mapping. Write one name: value a line."),
        ("limits: []\ndefaults: 0.8\n", 2, "It is not a mapping. Write one name: value a line."),
        ("limits: []\ndefaults:\n  warnin: 0.8\n", 3, "'warnin' is unknown here. Did you mean warning?"),
        ("limits: []\ndefaults:\n  warning: 2\n", 3, "'2' is not a threshold."),
        (
            "limits:\n- tokens: 5\n  strategy: daily\n",
            2,
            "id is missing. Add id.",
        ),
        ("limits:\n- id: a b\n  tokens: 5\n  strategy: daily\n", 2, "'a b' is not an id. Use up to 64 letters, digits"),
        (f"limits:\n- id: {'a' * 65}\n  tokens: 5\n  strategy: daily\n", 2, "a text of 65 characters is not an id."),
        (
            "limits:\n- id: a\n  strategy: daily\n",
            2,
            "The limit has no budget. Add one or more of tokens, requests, usd.",
        ),
        (
            "limits:\n- id: a\n  tokens: 5\n",
            2,
            "strategy is missing. Add strategy.",
        ),
        (
            "limits:\n- id: a\n  tokens: 5\n  strategy: fixed\n",
            4,
            "'fixed' is not accepted. Use 'daily', 'weekly', 'monthly', 'rolling' or 'session'.",
        ),
        ("limits:\n- id: a\n  tokens: 5\n  strategy: rolling\n", 2, "A rolling limit needs window_minutes. Add it"),
        (
            "limits:\n- id: a\n  tokens: 5\n  strategy: session\n  window_minutes: 0\n",
            5,
            "'0' is not a valid window length. Give minutes, from 1 to 527040 (366 days).",
        ),
        (
            "limits:\n- id: a\n  tokens: 5\n  strategy: rolling\n  window_minutes: 527041\n",
            5,
            "'527041' is not a valid window length.",
        ),
        (
            "limits:\n- id: a\n  tokens: 5\n  strategy: rolling\n  window_minutes: -5\n",
            5,
            "'-5' is not a valid window length.",
        ),
        (
            f"{_GOOD}  warning: 0.9\n  critical: 0.5\n",
            5,
            "The threshold warning is above critical. Give warning the smaller share.",
        ),
        (f"{_GOOD}  tokens: 6\n", 5, "The same name is already in line 3. Keep one of the two."),
        (
            f"{_GOOD}- id: a\n  usd: 1\n  strategy: daily\n",
            5,
            "'a' is already the id of the limit in line 2. Give each limit its own id.",
        ),
        (
            "limits: [{id: a, usd: 1, strategy: daily}, {id: a, usd: 1, strategy: daily}]",
            1,
            "'a' is already the id of the limit in line 1.",
        ),
        (f"{_GOOD}\ttokens: 7\n", 5, "This is not YAML: a tab stands where only spaces may indent."),
        (
            f"{_GOOD}  name: 'open\n",
            6,
            "This is not YAML: found unexpected end of stream. Check the indentation, and put quotes",
        ),
        (f"{_GOOD}  name: !!python/object:os.system x\n", 5, "The value has a tag"),
        ("limits: " + "[" * 1000 + "]" * 1000, 1, "nested too deeply, or contain themselves. Write it flat"),
        ("limits: &a [*a]\n", 1, "contain themselves. Write it flat, without aliases."),
    ],
)
def test_each_mistake_of_the_whole_file_is_reported_with_its_line(
    tmp_path: Path, content: str, line: int, told: str
) -> None:
    problems = _problems(tmp_path, content)
    assert problems[0].startswith(f"EXPORTER_LIMITS_FILE (limits.yaml:{line}): "), problems
    assert told in problems[0]


def test_a_file_that_is_missing_or_not_text_is_reported_with_what_to_do(tmp_path: Path) -> None:
    (problem,) = _problems(tmp_path, b"limits:\n- id: \xff\xfe\n")
    assert problem == "EXPORTER_LIMITS_FILE (limits.yaml): The file is not UTF-8 text. Save it as UTF-8."
    with pytest.raises(ProblemsError, match=r"Create it, or correct the path in EXPORTER_LIMITS_FILE\."):
        read_limit_file(tmp_path / "none.yaml", zone=UTC)


def test_all_mistakes_are_reported_at_once_in_the_order_of_their_lines(tmp_path: Path) -> None:
    problems = _problems(
        tmp_path,
        "defaults:\n"
        "  critical: 7\n"
        "extra: 1\n"
        "limits:\n"
        "- id: a\n"
        "  strategy: dayly\n"
        "  tokens: -5\n"
        "  requests: none\n"
        "  timezone: Mars\n"
        "- id: b\n"
        "  tokns: 5\n"
        "  wndow_minutes: 5\n"
        "  strategy: rolling\n"
        "- 17\n"
        "- id: a\n"
        "  usd: 1\n"
        "  strategy: daily\n",
    )
    places = [problem.split("limits.yaml:")[1].split(")")[0] for problem in problems]
    assert places == ["2", "3", "6", "7", "8", "9", "10", "10", "11", "12", "14", "15"]


@pytest.mark.parametrize(
    "field",
    [
        *("{0}: 5", "id: {0}", "tokens: {0}", "strategy: {0}", "per: {0}", "warning: {0}", "timezone: {0}"),
        *("window_minutes: {0}", "reset_anchor_timestamp: {0}", "usd: '{0}", "models: {{{0}: {0}}}", "name: !{0} x"),
        *("? [{0}]\n  : 5", "{0}"),
    ],
)
def test_a_text_that_looks_like_a_secret_is_never_repeated(tmp_path: Path, field: str) -> None:
    secret = "sk-ant-api03-Zq8vT2xLw9Rk4Hn7Bd1Fy6Jc3"
    problems = _problems(tmp_path, "limits:\n- " + field.format(secret) + "\n")
    assert "Zq8vT2" not in "\n".join(problems)


# --- plans ------------------------------------------------------------------------------------------------------------


def test_everything_that_a_plan_may_contain_is_read(tmp_path: Path) -> None:
    first, second = _file(
        tmp_path,
        "plans:\n"
        "- {credential: claude-alice, price_per_month: 200}\n"
        "- {credential: codex-*, price_per_month: 22.99, currency: eur, from: 2026-01-31, to: 2026-11-30}\n",
    ).plans
    assert dict(first) == {
        "credential": "claude-alice",
        "price_per_month": 200 * 10**9,
        "currency": "USD",
        "from_": None,
        "to": None,
    }
    assert dict(second) == {
        "credential": "codex-*",
        "price_per_month": 22_990_000_000,
        "currency": "EUR",
        "from_": date(2026, 1, 31),
        "to": date(2026, 11, 30),
    }


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("price_per_month: 5", "credential is missing. Add credential."),
        ("credential: a", "price_per_month is missing. Add price_per_month."),
        ("{credential: a, price_per_month: free}", "'free' is not a monthly price. Give a number above 0, for example"),
        ("{credential: a, price_per_month: 0}", "'0' is not a monthly price."),
        ("{credential: a, price_per_month: -5}", "'-5' is not a monthly price."),
        (
            "{credential: a, price_per_month: 5, currency: €}",
            "is not a currency. Use its three letters, such as USD or",
        ),
        ("{credential: a, price_per_month: 5, from: May}", "'May' is not a day. Write it as 2026-11-24."),
        (
            "{credential: a, price_per_month: 5, from: 2026-05-02, to: 2026-05-02}",
            "The plan ends before it begins. Give a day after from.",
        ),
        ("{credential: a, price_per_month: 5, until: 2026-05-02}", "'until' is unknown here."),
        ("a", "It is not a mapping. Write one name: value a line."),
    ],
)
def test_a_mistake_in_a_plan_is_named_with_its_line(tmp_path: Path, row: str, said: str) -> None:
    (problem,) = _problems(tmp_path, f"limits: []\nplans:\n- {row}\n")

    assert ":3" in problem
    assert said in problem


def test_plans_that_are_not_a_list_are_refused(tmp_path: Path) -> None:
    (problem,) = _problems(tmp_path, "plans: cheap\n")

    assert "plans is not a list. Begin each entry with a dash." in problem
