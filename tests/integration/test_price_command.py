"""``cliproxy-exporter price`` and the price file, as an operator uses them."""

from datetime import UTC
from pathlib import Path

import genai_prices
import pytest

from exporter.ledger.database import FILE_NAME
from exporter.ledger.ledger import Ledger
from exporter.pricing.feed_format import FeedPrice
from exporter.pricing.price import Tariff
from tests.benches.books import TurnedClock
from tests.stack.running import run_command

EXACT_SUM = f"""\
model     claude-opus-4-6 of claude at 2026-11-24T12:00:00+00:00
price     genai-prices {genai_prices.__version__} anthropic/claude-opus-4-6
matched   exact: the name is listed
tiers     batch

USD per million tokens, service tier base
                  any prompt
input                      5
cache_read               0.5
cache_write             6.25
output                    25

A request with a prompt of 18,807 tokens
input                  4,670 x            5 =       $0.023350000000
cache_read            13,569 x          0.5 =       $0.006784500000
cache_write              568 x         6.25 =       $0.003550000000
output                    93 x           25 =       $0.002325000000
                          40 of them are reasoning, at the same price
cost                                                $0.036009500
"""

_FLEX = ("price", "gpt-5.4", "--tier", "flex", "--at", "2026-11-24")


def test_the_sum_is_written_out_step_by_step(tmp_path: Path) -> None:
    said = run_command(
        *("price", "claude-opus-4-6", "--provider", "claude", "--at", "2026-11-24T12:00"),
        *("--input", "4670", "--cache-read", "13569", "--cache-write", "568", "--output", "93", "--reasoning", "40"),
        cwd=tmp_path,
    )
    assert (said.returncode, said.stdout, said.stderr) == (0, EXACT_SUM, "")
    assert list(tmp_path.iterdir()) == [], "nothing is written"


@pytest.mark.parametrize(
    ("tokens", "line"),
    [
        ("272000", "input                272,000 x         1.25 =       $0.340000000000"),
        ("272001", "input                272,001 x          2.5 =       $0.680002500000"),
    ],
)
def test_a_service_tier_and_a_long_prompt_are_shown(tmp_path: Path, tokens: str, line: str) -> None:
    said = run_command(*_FLEX, "--input", tokens, cwd=tmp_path)
    assert said.returncode == 0, said.stderr
    assert "service tier flex" in said.stdout
    assert "up to 272,000   above 272,000" in said.stdout
    assert line in said.stdout.splitlines()


def test_the_price_of_a_day_is_the_one_that_held_then(tmp_path: Path) -> None:
    prices = []
    for day in ("2025-06-09", "2025-06-10"):
        said = run_command("price", "o3", "--at", day, cwd=tmp_path)
        prices.append(next(line.split()[-1] for line in said.stdout.splitlines() if line.startswith("input")))
    assert prices == ["10", "2"]


def test_a_model_that_no_list_has_is_shown_with_the_default_price_and_fails(tmp_path: Path) -> None:
    said = run_command("price", "house-model", "--input", "1000000", cwd=tmp_path)
    assert said.returncode == 1
    assert "price     _default" in said.stdout
    assert "$0.150000000" in said.stdout
    assert "No list has a price for house-model, so it is charged at the default price" in said.stderr


def test_a_model_without_a_price_says_why_it_has_none(tmp_path: Path) -> None:
    said = run_command("price", "codex-auto-review", "--provider", "codex", cwd=tmp_path)
    assert said.returncode == 1
    assert "not on sale by the token" in said.stderr


def test_cache_writes_of_an_hour_are_named_and_charged(tmp_path: Path) -> None:
    (tmp_path / "my.yaml").write_text("cache_write_ttl: {claude: 1h}\n")
    said = run_command(
        "price",
        *("claude-fable-5", "--provider", "claude", "--cache-write", "37175"),
        cwd=tmp_path,
        EXPORTER_PRICES_FILE="my.yaml",
    )
    assert (said.returncode, said.stderr) == (0, "")
    assert "for an hour" in said.stdout
    assert "$0.743500000" in said.stdout


def test_a_service_tier_without_a_price_is_shown_with_the_base_price_and_fails(tmp_path: Path) -> None:
    said = run_command("price", "grok-4.5", "--tier", "priority", "--input", "10", cwd=tmp_path)
    assert said.returncode == 1
    assert "service tier base" in said.stdout
    assert "cost" not in said.stdout
    assert "no price for the service tier priority" in said.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("gpt-5", "--at", "yesterday"),
        ("gpt-5", "--input", "-1"),
        ("gpt-5", "--output", "1", "--reasoning", "2"),
        (),
    ],
)
def test_wrong_use_ends_with_2(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    assert run_command("price", *arguments, cwd=tmp_path).returncode == 2


def test_the_users_file_and_the_daily_list_are_used_beside_a_running_exporter(tmp_path: Path) -> None:
    (tmp_path / "my.yaml").write_text("prices:\n  - {model: house-model, input: 1, output: 2}\n")
    (tmp_path / "data").mkdir()
    ledger = Ledger(tmp_path / "data" / FILE_NAME, clock=TurnedClock(), zone=UTC)
    tariff = Tariff(input=4_000_000, output=8_000_000, cache_read=None, cache_write=None)
    ledger.price_feed.save([FeedPrice(section="openai", model="gpt-99", since_ms=0, tariff=tariff)], fetched_ms=1)

    said = [
        run_command("price", model, cwd=tmp_path, EXPORTER_PRICES_FILE="my.yaml", EXPORTER_DATA_DIR="data")
        for model in ("house-model", "gpt-99")
    ]
    ledger.close()
    assert [each.returncode for each in said] == [0, 0], [each.stderr for each in said]
    assert "price     my.yaml house-model\nmatched   override: your price file has it" in said[0].stdout
    assert "price     llm-prices.com openai/gpt-99" in said[1].stdout


def test_a_wrong_price_file_is_reported_with_each_line(tmp_path: Path) -> None:
    (tmp_path / "my.yaml").write_text("prices:\n  - {model: a, input: x}\n  - {input: 1}\n")
    said = run_command(
        "check-config", cwd=tmp_path, EXPORTER_PRICES_FILE="my.yaml", CLIPROXY_MANAGEMENT_KEY="planted-management-key"
    )
    assert said.returncode == 2
    assert "problem: EXPORTER_PRICES_FILE (my.yaml:2): 'x' is not a price." in said.stdout
    assert "problem: EXPORTER_PRICES_FILE (my.yaml:3): model is missing. Add model." in said.stdout
    again = run_command("price", "a", cwd=tmp_path, EXPORTER_PRICES_FILE="my.yaml")
    assert again.returncode == 2
    assert "my.yaml:3" in again.stderr


def test_a_ledger_that_cannot_be_read_costs_only_the_daily_list(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / FILE_NAME).write_bytes(b"no ledger" * 1000)
    said = run_command("price", "gpt-5", cwd=tmp_path, EXPORTER_DATA_DIR="data")
    assert said.returncode == 0
    assert "daily list are not used" in said.stderr
