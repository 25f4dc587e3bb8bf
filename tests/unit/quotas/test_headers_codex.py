"""The windows of Codex and Meta from response headers, and whatever else the headers may hold."""

import pytest

from exporter.quotas.headers import read_headers
from exporter.quotas.reading import MAX_WINDOWS
from tests.benches.headers import DATE, DAY_MS, NOW, NOW_MS, SPARK, claude, codex, meta, named, read, read_one


@pytest.mark.parametrize(
    ("minutes", "window"),
    [
        ("300", "5h"),
        ("300.0", "5h"),
        ("10080", "7d"),
        ("1440", "1d"),
        ("90", "90m"),
        ("40320", "month"),
        ("43200", "month"),
        ("43800", "month"),
        ("44640", "month"),
        ("46080", "32d"),
    ],
)
def test_a_codex_window_is_named_by_its_minutes_whatever_its_position(minutes: str, window: str) -> None:
    for position in ("Primary", "Secondary"):
        reading = read_one(codex(position, window_minutes=minutes), provider="codex", model="gpt-5.4")
        assert (reading.window, reading.window_seconds) == (window, int(float(minutes)) * 60)


def test_a_weekly_primary_needs_no_secondary() -> None:
    assert named(read(codex(window_minutes="10080"), provider="codex", model="gpt-5.4")) == [("7d", "", 0.125)]


@pytest.mark.parametrize(
    ("minutes", "window", "seconds"),
    [
        ("299", "5h", 18_000),
        ("303", "5h", 18_000),
        ("304", "304m", 18_240),
        ("10079", "7d", 604_800),
        ("40316", "40316m", 2_418_960),
        ("40317", "month", 2_419_200),
        ("90", "90m", 5_400),
        ("2", "2m", 120),
    ],
)
def test_a_window_a_few_minutes_off_whole_hours_is_the_same_window(minutes: str, window: str, seconds: int) -> None:
    reading = read_one(codex(window_minutes=minutes), provider="codex", model="gpt-5.4")

    assert (reading.window, reading.window_seconds) == (window, seconds)


@pytest.mark.parametrize(
    "gap",
    [
        {"used_percent": None},
        {"window_minutes": None},
        {"window_minutes": "0"},
        {"window_minutes": "10080.5"},
        {"window_minutes": "99999999"},
        {"reset_at": None},
        {"reset_at": "0"},
        {"reset_at": "", "reset_after_seconds": "-5"},
        {"reset_at": "", "reset_after_seconds": "1e9"},
    ],
)
def test_a_half_filled_window_is_ignored_and_the_other_kept(gap: dict[str, str | None]) -> None:
    headers = codex("Primary") | codex("Secondary", **({"window_minutes": "10080"} | gap))

    assert named(read(headers, provider="codex", model="gpt-5.4")) == [("5h", "", 0.125)]


@pytest.mark.parametrize(
    ("reset_at", "after", "resets_ms", "inferred"),
    [
        (str(NOW + 100), "7", NOW_MS + 100_000, False),
        (str(NOW_MS + 100_000), None, NOW_MS + 100_000, False),
        (None, "7", NOW_MS + 7_000, True),
        ("0", "7", NOW_MS + 7_000, True),
        (None, "0", NOW_MS, True),
    ],
    ids=["absolute before relative", "milliseconds", "relative to the Date", "0 is no moment", "just over"],
)
def test_an_absolute_reset_is_preferred(
    reset_at: str | None, after: str | None, resets_ms: int, inferred: bool
) -> None:
    headers = codex(reset_at=reset_at, reset_after_seconds=after)
    reading = read_one(headers, provider="codex", model="gpt-5.4")

    assert (reading.resets_ms, reading.inferred) == (resets_ms, inferred)


@pytest.mark.parametrize(
    ("model", "scope"),
    [
        ("gpt-5.4", ""),
        ("gpt-image-2", ""),
        ("gpt-5.3-codex-spark", SPARK),
        ("GPT-5.3-Codex-Spark", SPARK),
        ("carol/gpt-5.3-codex-spark(high)", SPARK),
        ("gpt-5.3-codex-spark-high", SPARK),
        ("模型", ""),
        ("", None),
        ("unknown", None),
        ("carol/", None),
    ],
)
def test_windows_without_a_group_belong_to_the_model_that_answered(model: str, scope: str | None) -> None:
    headers = codex() | {"X-Codex-Active-Limit": "codex_bengalfox"}

    found = read(headers, provider="codex", model=model)
    assert [reading.scope for reading in found] == ([] if scope is None else [scope])


def test_an_idle_spark_window_does_not_hide_the_full_main_one() -> None:
    spark = codex(used_percent="0") | {"X-Codex-Active-Limit": "codex_bengalfox"}
    main = codex(used_percent="97") | {"X-Codex-Active-Limit": "codex"}
    found = read(main, provider="codex", model="gpt-5.4") + read(spark, provider="codex", model=SPARK)

    assert named(found) == [("5h", "", 0.97), ("5h", SPARK, 0.0)]


# By its code name over HTTP, by its own over WebSocket.
@pytest.mark.parametrize("group", ["Bengalfox", "Additional-GPT-5.3-Codex-Spark"])
def test_a_group_is_scoped_by_its_name_which_comes_before_the_model(group: str) -> None:
    headers = codex(f"{group}-Primary", used_percent="40") | {f"X-Codex-{group}-Limit-Name": "GPT-5.3-Codex-Spark"}

    with_main = read(codex() | headers, provider="codex", model="gpt-5.4")
    with_spark = read(codex() | headers, provider="codex", model=SPARK)
    assert named(with_main) == [("5h", "", 0.125), ("5h", SPARK, 0.4)]
    assert named(with_spark) == [("5h", SPARK, 0.4)]
    assert named(read(headers, provider="codex", model="")) == [("5h", SPARK, 0.4)]


@pytest.mark.parametrize(
    ("name", "scope"),
    [
        ("Code Review (beta)", "code-review-beta"),
        ('x"} 1\ncliproxy_up 0', "wombat"),
        ("../../etc/passwd", "wombat"),
        ("<script>", "wombat"),
        ("ÄÖÜ", "wombat"),
        ("someone@planted.example", "wombat"),
        ("n" * 33, "wombat"),
        ("n" * 32, "n" * 32),
        ("", "wombat"),
    ],
)
def test_a_hostile_name_of_a_group_becomes_a_slug_or_the_groups_id(name: str, scope: str) -> None:
    headers = codex("Wombat-Primary") | {"X-Codex-Wombat-Limit-Name": name}

    assert read_one(headers, provider="codex", model="gpt-5.4").scope == scope


def test_a_window_of_impossible_length_is_left_out() -> None:
    assert read(codex(window_minutes="9e307"), provider="codex", model="gpt-5.4") == []


def test_of_two_windows_of_one_name_the_fuller_one_counts() -> None:
    headers = codex("Primary", used_percent="10") | codex("Secondary", used_percent="90")
    assert named(read(headers, provider="codex", model="gpt-5.4")) == [("5h", "", 0.9)]
    assert named(read(claude("7d", utilization="0.3") | claude("168h", utilization="0.2"))) == [("7d", "", 0.3)]


def test_a_flood_of_scopes_is_bounded_and_the_accounts_own_windows_stay() -> None:
    headers: dict[str, str] = {}
    for number in range(40):
        headers |= claude(f"7d_{chr(97 + number % 26) * (1 + number // 26)}")
    headers |= claude("5h") | claude("7d")
    allowed = {name.lower(): value for name, value in headers.items()}
    at = {"answered_ms": NOW_MS, "received_ms": NOW_MS}
    found = read_headers(allowed, provider="claude", model="", **at)

    assert len(found) == MAX_WINDOWS
    assert [(reading.window, reading.scope) for reading in found[:2]] == [("5h", ""), ("7d", "")]


@pytest.mark.parametrize("provider", ["kimi", "xai", "openai-compatible-openrouter", "unknown", ""])
def test_other_providers_have_no_windows_in_headers(provider: str) -> None:
    assert read(claude() | codex(), provider=provider, model="gpt-5.4") == []
    assert len(read(claude() | codex(), provider="claude", model="gpt-5.4")) == 1


# --- refusals, the reserve, and meta ----------------------------------------------------------------------------------


@pytest.mark.parametrize("flag", [{"X-Codex-Allowed": "False"}, {"X-Codex-Limit-Reached": "true"}])
def test_a_refused_codex_window_without_a_share_is_full_and_one_with_a_share_keeps_it(flag: dict[str, str]) -> None:
    headers = codex(used_percent="") | codex("Secondary", used_percent="40", window_minutes="10080") | flag
    found = read(headers, provider="codex", model="gpt-5.4")

    assert named(found) == [("5h", "", 1.0), ("7d", "", 0.4)]
    assert [reading.ratio_inferred for reading in found] == [True, False]


def test_a_refusal_is_explained_by_a_window_that_is_stated_to_be_full() -> None:
    headers = codex(used_percent="100") | codex("Secondary", used_percent="", window_minutes="10080")
    found = read(headers | {"X-Codex-Limit-Reached": "true"}, provider="codex", model="gpt-5.4")

    assert named(found) == [("5h", "", 1.0)]


def test_a_refusal_without_any_window_applies_to_the_account() -> None:
    reading = read_one({"Date": DATE, "X-Codex-Allowed": "false"}, provider="codex", model="gpt-5.4")

    assert (reading.window, reading.used_ratio, reading.ratio_inferred) == ("account", 1.0, True)
    assert reading.ends_ms is None


def test_a_refusal_that_no_window_explains_applies_to_the_account() -> None:
    headers = codex(used_percent="40") | {"X-Codex-Allowed": "False"}
    found = read(headers, provider="codex", model="gpt-5.4")

    assert named(found) == [("account", "", 1.0), ("5h", "", 0.4)]


@pytest.mark.parametrize(
    "flags", [{"X-Codex-Allowed": "true"}, {"X-Codex-Limit-Reached": "false"}, {"X-Codex-Allowed": "no"}, {}]
)
def test_an_account_that_is_not_refused_has_no_window_without_a_share(flags: dict[str, str]) -> None:
    assert read(codex(used_percent=None) | flags, provider="codex", model="gpt-5.4") == []


def test_the_codex_reserve_has_its_own_scope_and_an_empty_second_window_is_none() -> None:
    reserve = {
        "X-Base-Model-Inference-Primary-Used-Percent": "0",
        "X-Base-Model-Inference-Primary-Window-Minutes": "10080",
        "X-Base-Model-Inference-Primary-Reset-At": str(NOW + 604_800),
        "X-Base-Model-Inference-Secondary-Used-Percent": "0",
        "X-Base-Model-Inference-Secondary-Window-Minutes": "0",
        "X-Base-Model-Inference-Secondary-Reset-At": "",
    }
    main, week = read(codex() | reserve, provider="codex", model="gpt-5.4")

    assert (main.scope, week.scope) == ("", "gpt-reserve")
    assert (week.window, week.used_ratio, week.ends_ms) == ("7d", 0.0, None)


def test_meta_has_a_short_window_named_by_its_minutes_and_a_week() -> None:
    found = read(meta(), provider="meta")

    assert named(found) == [("5h", "", 1.045), ("7d", "", 0.31)]
    assert [reading.resets_ms for reading in found] == [NOW_MS + 60_000, NOW_MS + DAY_MS]
    assert read(meta(), provider="codex", model="gpt-5.4") == []
