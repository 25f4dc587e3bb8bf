import pytest

from exporter.pricing.model_names import clean, spellings, without_vendor
from exporter.pricing.price import MatchedBy

EXACT, DATE, SUFFIX = MatchedBy.EXACT, MatchedBy.DATE, MatchedBy.SUFFIX


@pytest.mark.parametrize(
    ("model", "tried"),
    [
        ("gpt-5", [("gpt-5", EXACT)]),
        (" GPT-5\n", [("gpt-5", EXACT)]),
        ("models/gemini-2.5-pro", [("models/gemini-2.5-pro", EXACT), ("gemini-2.5-pro", EXACT)]),
        (
            "publishers/anthropic/models/claude-opus-4-6",
            [("publishers/anthropic/models/claude-opus-4-6", EXACT), ("claude-opus-4-6", EXACT)],
        ),
        ("x/y/z", [("x/y/z", EXACT), ("y/z", EXACT)]),
        ("gpt-5.1(high)", [("gpt-5.1(high)", EXACT), ("gpt-5.1", SUFFIX)]),
        ("gpt-5.1(8192)", [("gpt-5.1(8192)", EXACT), ("gpt-5.1", SUFFIX)]),
        ("gpt-5.1(preview)", [("gpt-5.1(preview)", EXACT)]),
        (
            "claude-sonnet-4-5-20250929",
            [
                ("claude-sonnet-4-5-20250929", EXACT),
                ("claude-sonnet-4-5-2025-09-29", DATE),
                ("claude-sonnet-4-5", DATE),
            ],
        ),
        ("claude-opus-4@20250514", [("claude-opus-4@20250514", EXACT), ("claude-opus-4", DATE)]),
        ("gpt-5-2025-08-07", [("gpt-5-2025-08-07", EXACT), ("gpt-5", DATE)]),
        ("grok-code-fast-1-0825", [("grok-code-fast-1-0825", EXACT), ("grok-code-fast-1", DATE)]),
        (
            "gemini-2.5-flash-preview-09-2025",
            [("gemini-2.5-flash-preview-09-2025", EXACT), ("gemini-2.5-flash", DATE)],
        ),
        ("m-20251399", [("m-20251399", EXACT)]),
        ("m-2507", [("m-2507", EXACT)]),
        ("m-2025-01-01-2024-01-01", [("m-2025-01-01-2024-01-01", EXACT), ("m-2025-01-01", DATE)]),
        ("claude-opus-4-6[1m]", [("claude-opus-4-6[1m]", EXACT), ("claude-opus-4-6", SUFFIX)]),
        (
            "claude-opus-4@20250514[1m]",
            [
                ("claude-opus-4@20250514[1m]", EXACT),
                ("claude-opus-4@20250514", SUFFIX),
                ("claude-opus-4", SUFFIX),
            ],
        ),
        ("claude-opus-4-6-thinking", [("claude-opus-4-6-thinking", EXACT), ("claude-opus-4-6", SUFFIX)]),
        ("kimi-k2-thinking", [("kimi-k2-thinking", EXACT)]),
        ("gpt-5-xhigh", [("gpt-5-xhigh", EXACT), ("gpt-5", SUFFIX)]),
        ("gpt-5.1-codex-max", [("gpt-5.1-codex-max", EXACT)]),
        ("gpt-5-codex-mini", [("gpt-5-codex-mini", EXACT)]),
        ("gpt-4-latest", [("gpt-4-latest", EXACT)]),
        ("gemini-3-pro-high", [("gemini-3-pro-high", EXACT), ("gemini-3-pro", SUFFIX)]),
        ("gemini-3-pro-minimal", [("gemini-3-pro-minimal", EXACT)]),
        (
            "gemini-claude-sonnet-4-5-thinking",
            [
                ("gemini-claude-sonnet-4-5-thinking", EXACT),
                ("claude-sonnet-4-5-thinking", SUFFIX),
                ("claude-sonnet-4-5", SUFFIX),
            ],
        ),
        ("claude-opus-4@default", [("claude-opus-4@default", EXACT), ("claude-opus-4", SUFFIX)]),
        (
            "claude-3-5-sonnet-v2@20241022",
            [
                ("claude-3-5-sonnet-v2@20241022", EXACT),
                ("claude-3-5-sonnet-v2", DATE),
                ("claude-3-5-sonnet", SUFFIX),
            ],
        ),
        ("claude-v2", [("claude-v2", EXACT)]),
        ("gemini-2.0-flash-001", [("gemini-2.0-flash-001", EXACT), ("gemini-2.0-flash", SUFFIX)]),
        ("gemini-embedding-002", [("gemini-embedding-002", EXACT)]),
        ("text-davinci-002", [("text-davinci-002", EXACT)]),
        ("imagen-3.0-generate-002", [("imagen-3.0-generate-002", EXACT)]),
        ("gpt-oss-120b:free", [("gpt-oss-120b:free", EXACT)]),
    ],
)
def test_a_name_is_reduced_step_by_step(model: str, tried: list[tuple[str, MatchedBy]]) -> None:
    assert list(spellings(clean(model))) == tried


@pytest.mark.parametrize(
    "model",
    [
        pytest.param("gpt-4" + " " * 1_000, id="longer than any name"),
        pytest.param("gpt-4\x00", id="a control character"),
        pytest.param("\u212aimi-k2", id="a letter that only looks like k in lower case"),
        pytest.param("gpt-\u0664", id="a digit of another script"),
    ],
)
def test_an_impossible_name_belongs_to_no_model(model: str) -> None:
    assert clean(model) == ""


@pytest.mark.parametrize(
    ("name", "bare"), [("openai/gpt-5", "gpt-5"), ("gpt-5", "gpt-5"), ("models/a", "a"), ("a/", "a/"), ("", "")]
)
def test_the_vendor_can_be_dropped(name: str, bare: str) -> None:
    assert without_vendor(name) == bare
