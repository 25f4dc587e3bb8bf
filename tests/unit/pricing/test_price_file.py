"""The format of price files: what a good file says, and the messages about a bad one."""

from datetime import UTC, datetime
from math import inf
from pathlib import Path

import pytest

from exporter.pricing.lookup import PriceList, override_ways
from exporter.pricing.price import Tariff, Tier, pico_per_token
from exporter.pricing.price_file import PriceFile, by_name, read_price_file
from exporter.settings.problems import ProblemsError


def ms(day: str) -> int:
    return int(datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp()) * 1000


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "prices.yaml"


def read(path: Path, text: str) -> PriceFile:
    path.write_text(text, encoding="utf-8")
    return read_price_file(path)


def problems(path: Path, text: str) -> list[str]:
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ProblemsError) as raised:
        read_price_file(path)
    return [str(problem) for problem in raised.value.problems]


def test_the_example_on_the_page_about_prices_is_accepted(path: Path) -> None:
    page = (Path(__file__).parents[3] / "docs" / "prices.md").read_text(encoding="utf-8")
    file = read(path, page.partition("```yaml\n")[2].partition("```")[0])
    assert [row.names[0] for row in file.rows] == ["house-model-7b", "gpt-5.4"]
    assert file.default is not None


@pytest.mark.parametrize(
    ("moment", "usd"),
    [
        ("2026-08-16T16:00:00", "0.66"),  # midnight in Shanghai
        ("2026-11-27T00:59:59", "0.66"),
        ("2026-11-27T01:00:00", "1.32"),
        ("2026-11-27T04:00:00", "0.66"),
        ("2026-11-27T09:59:59", "1.32"),
        ("2026-11-28T02:00:00", "0.66"),  # Saturday
        ("2026-10-01T02:00:00", "0.66"),  # National Day
    ],
)
def test_the_example_of_prices_by_the_hour_does_what_the_page_says(path: Path, moment: str, usd: str) -> None:
    page = (Path(__file__).parents[3] / "docs" / "prices.md").read_text(encoding="utf-8")
    text = page.partition("### Prices by the hour")[2].partition("```yaml\n")[2].partition("```")[0]
    prices = PriceList(by_name(read(path, text).rows, list_name="prices.yaml"), ways=override_ways)
    price = prices.find("any", "night-model", at_ms=ms(moment))
    assert price is not None
    assert price.tariff.input == pico_per_token(usd)
    assert prices.find("any", "night-model", at_ms=ms("2026-08-16T15:59:59")) is None


def by_the_hour(path: Path, fields: str, moment: str) -> bool:
    """Whether a row with these fields has a price at a moment."""
    file = read(path, f"prices:\n  - {{model: m, input: 1, {fields}}}")
    prices = PriceList(by_name(file.rows, list_name="prices.yaml"), ways=override_ways)
    return prices.find("any", "m", at_ms=ms(moment)) is not None


@pytest.mark.parametrize(
    ("fields", "moment", "holds"),
    [
        ('hours: ["22:00-24:00", "00:00-06:00"]', "2026-05-01T23:59:59", True),
        ('hours: ["22:00-24:00", "00:00-06:00"]', "2026-05-01T00:00:00", True),
        ('hours: ["22:00-24:00", "00:00-06:00"]', "2026-05-01T06:00:00", False),
        ("days: [sat]", "2026-11-28T00:00:00", True),
        ("days: [sat]", "2026-11-28T23:59:59", True),
        ("days: [sat]", "2026-11-29T00:00:00", False),
        ("days: [sat], zone: Asia/Kathmandu", "2026-11-27T18:15:00", True),
        ("days: [sat], zone: Asia/Kathmandu", "2026-11-27T18:14:59", False),
        # The nights on which clocks go from 2:00 to 3:00 and back.
        ('hours: ["02:00-03:00"], zone: Europe/Berlin', "2026-03-29T01:00:00", False),
        ('hours: ["03:00-04:00"], zone: Europe/Berlin', "2026-03-29T01:00:00", True),
        ('hours: ["02:00-03:00"], zone: Europe/Berlin', "2026-10-25T00:00:00", True),
        ('hours: ["02:00-03:00"], zone: Europe/Berlin', "2026-10-25T01:59:59", True),
        ('hours: ["02:00-03:00"], zone: Europe/Berlin', "2026-10-25T02:00:00", False),
        # The year 10000 has begun there, which no date can say.
        ("zone: Asia/Tokyo", "9999-12-31T23:00:00", True),
    ],
)
def test_a_row_follows_the_clock_of_its_zone(path: Path, fields: str, moment: str, holds: bool) -> None:
    assert by_the_hour(path, fields, moment) is holds


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ("days: [monday]", "monday' is not a weekday"),
        ("days: mon", "days is not a list"),
        ("days: []", "days is not a list"),
        ('hours: ["9-12"]', "9-12' are not hours"),
        ('hours: ["22:00-06:00"]', "22:00-06:00' are not hours"),
        ('hours: ["09:00-24:30"]', "09:00-24:30' are not hours"),
        ("holidays: [2026-10-01]", "has holidays, and no days or hours"),
        ("days: [mon], holidays: [2026-02-30]", "2026-02-30' is not a day"),
        ("zone: Asia/Shangai", "is not a time zone"),
        ("corrects: genai-prices", "corrects' is unknown here"),
        ("same_as: openai/gpt-5", "same_as' is unknown here"),
    ],
)
def test_a_mistake_in_the_hours_is_reported(path: Path, fields: str, why: str) -> None:
    [problem] = problems(path, f"prices:\n  - {{model: m, input: 1, {fields}}}")
    assert why in problem


@pytest.mark.parametrize(
    ("one", "other", "refused"),
    [
        ('hours: ["09:00-12:00"]', 'hours: ["11:59-13:00"]', True),
        ('hours: ["09:00-12:00"]', 'hours: ["12:00-13:00"]', False),
        ("days: [mon]", "days: [mon, tue]", True),
        ("days: [mon]", "days: [tue]", False),
        ("days: [mon]", "days: [tue], zone: Asia/Tokyo", True),
        ("days: [mon], to: 2026-05-01", "days: [mon], from: 2026-05-01", False),
        ("days: [mon]", "source: all other days", False),
    ],
)
def test_two_rows_with_hours_must_not_overlap(path: Path, one: str, other: str, refused: bool) -> None:
    text = f"prices:\n  - {{model: m, input: 1, {one}}}\n  - {{model: m, input: 2, {other}}}"
    if refused:
        assert "has a price for the same time in line 2" in problems(path, text)[0]
    else:
        assert len(read(path, text).rows) == 2


def test_a_row_says_everything_about_one_model_for_one_time(path: Path) -> None:
    file = read(
        path,
        """
prices:
  - model: House-Model
    provider: OpenAI-Compatible-Mine
    aliases: [house, house-7b]
    from: 2026-01-01
    to: 2026-07-01
    input: 1
    cache_read: "0.1"
    output: 2.500000
    tiers:
      - above: 200000
        input: 2
        cache_read: 0.2
        output: 5
    service_tiers:
      priority:
        input: 4
        cache_read: 0.4
        output: 10
    source: contract of January
    checked: 2026-11-24
""",
    )
    [row] = file.rows
    long = Tier(above_tokens=200_000, input=2_000_000, cache_read=200_000, cache_write=2_000_000, output=5_000_000)
    assert (row.provider, row.names) == ("openai-compatible-mine", ("house-model", "house", "house-7b"))
    assert (row.from_ms, row.until_ms) == (ms("2026-01-01"), ms("2026-07-01"))
    assert row.tariff == Tariff(
        input=1_000_000, cache_read=100_000, cache_write=1_000_000, output=2_500_000, tiers=(long,)
    )
    assert row.service_tiers == {
        "priority": Tariff(input=4_000_000, cache_read=400_000, cache_write=4_000_000, output=10_000_000)
    }
    assert file.default is None


def test_the_shortest_row_is_a_model_and_its_input_price(path: Path) -> None:
    [row] = read(path, "prices:\n  - {model: text-embedding-house, input: 0.02}\n").rows
    assert row.tariff == Tariff(input=20_000, cache_read=None, cache_write=20_000, output=None)
    assert (row.from_ms, row.until_ms, row.provider) == (-inf, inf, "")


def test_a_price_is_read_as_written(path: Path) -> None:
    # As binary floats, 0.1 + 0.2 is not 0.3, and YAML reads 1_000 and 0x10 as numbers.
    [row] = read(path, "prices:\n  - {model: m, input: 0.000003, output: 0.3}\n").rows
    assert row.tariff is not None
    assert (row.tariff.input, row.tariff.output) == (3, 300_000)


def test_the_default_price_covers_cached_input_at_the_price_of_input(path: Path) -> None:
    file = read(path, "prices:\n  - {model: _default, input: 3, output: 15, cache_read: 0.3}\n")
    assert file.default == Tariff(input=3_000_000, cache_read=300_000, cache_write=3_000_000, output=15_000_000)
    assert file.rows == []


def test_rows_of_one_model_may_follow_each_other(path: Path) -> None:
    file = read(
        path,
        "prices:\n"
        "  - {model: m, input: 1, to: 2026-05-01}\n"
        "  - {model: m, input: 2, from: 2026-05-01, to: 2026-06-01}\n"
        "  - {model: m, input: 3, from: 2026-06-01}\n"
        "  - {model: m, provider: codex, input: 4}\n",
    )
    assert len(file.rows) == 4


def test_an_empty_list_is_not_a_mistake(path: Path) -> None:
    assert read(path, "prices: []\n") == PriceFile()


ROW = "prices:\n  - model: m\n    input: 1\n"


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        pytest.param("- model: m\n", 1, "not a mapping", id="a list alone"),
        pytest.param("prices:\n\t- model: m\n", 2, "a tab", id="a tab"),
        pytest.param("prices:\n  - model: m\n   input: 1\n", 3, "not YAML", id="indented wrong"),
        pytest.param("{}\n", 1, "prices is missing. Add prices.", id="nothing in it"),
        pytest.param("", 1, "prices is missing. Add prices.", id="an empty file"),
        pytest.param("prices: 3\n", 1, "prices is not a list. Begin each entry with a dash.", id="no list"),
        pytest.param("price: []\n", 1, "Did you mean prices?", id="the list misspelt"),
        pytest.param("prices:\n  - 3\n", 2, "not a mapping", id="a row that is a number"),
        pytest.param("prices:\n  - input: 1\n", 2, "model is missing. Add model.", id="no model"),
        pytest.param("prices:\n  - model: m\n    model: n\n", 3, "is already in line 2", id="a field twice"),
        pytest.param("prices:\n  - model: m\n    output: 1\n", 2, "input is missing. Add input.", id="no input price"),
        pytest.param(ROW + "    outputs: 1\n", 4, "Did you mean output?", id="a field misspelt"),
        pytest.param(ROW + "    output: -1\n", 4, "'-1' is not a price", id="below zero"),
        pytest.param(ROW + "    output: free\n", 4, "'free' is not a price", id="a word"),
        pytest.param(ROW + "    output: 1e-6\n", 4, "'1e-6' is not a price", id="an exponent"),
        pytest.param(ROW + "    output: 0.0000001\n", 4, "six decimals", id="too many decimals"),
        pytest.param(ROW + "    output: .nan\n", 4, "is not a price", id="not a number"),
        pytest.param(ROW + "    output: $3\n", 4, "is not a price", id="a currency"),
        pytest.param(ROW + "    output: 1,5\n", 4, "is not a price", id="a decimal comma"),
        pytest.param(ROW + "    output:\n", 4, "output is not a single value. Write one value there.", id="left empty"),
        pytest.param(ROW + "    from: 2026-13-01\n", 4, "'2026-13-01' is not a day", id="no such day"),
        pytest.param(ROW + "    from: 01.11.2026\n", 4, "is not a day", id="a day in another form"),
        pytest.param(
            ROW + "    from: 2026-11-01\n    to: 2026-11-01\n", 5, "ends before it begins", id="no time at all"
        ),
        pytest.param(ROW + "    aliases: n\n", 4, "aliases is not a list", id="aliases that are a text"),
        pytest.param(
            ROW + "    aliases: [[n]]\n",
            4,
            "aliases[0] is not a single value. Write one value there.",
            id="an alias that is a list",
        ),
        pytest.param(
            'prices:\n  - model: "m\\0"\n    input: 1\n', 2, "cannot be a model's name", id="a control character"
        ),
        pytest.param(ROW + "    tiers: 3\n", 4, "tiers is not a list", id="tiers that are a number"),
        pytest.param(
            ROW + "    tiers:\n      - input: 2\n", 5, "above is missing. Add above.", id="a tier without a size"
        ),
        pytest.param(ROW + "    tiers:\n      - {above: 200k, input: 2}\n", 5, "above how many", id="a size in words"),
        pytest.param(
            ROW + "    tiers:\n      - {above: null, input: 2}\n",
            5,
            "above is not a single value. Write one value there.",
            id="an empty size",
        ),
        pytest.param(
            ROW + "    tiers:\n      - {above: 2, input: 2}\n      - {above: 1, input: 2}\n",
            4,
            "do not rise",
            id="tiers that fall",
        ),
        pytest.param(
            ROW + "    output: 2\n    tiers:\n      - {above: 2, input: 2}\n",
            6,
            "the row has a price for output, and it has none",
            id="a tier that leaves a bucket out",
        ),
        pytest.param(
            ROW + "    service_tiers:\n      flex:\n        input: 2\n        tiers: [{above: 2, input: 2, output: 1}]",
            7,
            "The tier: it has a price for output, and the row has none",
            id="a tier of a service tier with a bucket more",
        ),
        pytest.param(
            ROW + "    service_tiers:\n      flex: {input: 2, output: 1}\n",
            4,
            "it has a price for output, and the row has none",
            id="a service tier with a bucket more",
        ),
        pytest.param(ROW + "cache_write_ttl: 1h\n", 4, "not a mapping", id="a lifetime without a provider"),
        pytest.param(
            ROW + "cache_write_ttl:\n  claude: 2h\n",
            5,
            "'2h' is not accepted. Use '5m' or '1h'.",
            id="another lifetime",
        ),
        pytest.param(ROW + "    service_tiers: [flex]\n", 4, "not a mapping", id="service tiers that are a list"),
        pytest.param(ROW + "    service_tiers:\n      Flex: {input: 2}\n", 5, "lower case", id="a tier in capitals"),
        pytest.param(
            ROW + "    service_tiers:\n      flex: 2\n",
            5,
            "It is not a mapping. Write one name: value a line.",
            id="a tier that is a number",
        ),
        pytest.param(
            "prices:\n  - model: m\n    service_tiers:\n      flex: {input: 2}\n",
            2,
            "input is missing. Add input.",
            id="service tiers alone, which only the overlay may have",
        ),
        pytest.param(ROW + "  - {model: M, input: 2}\n", 4, "line 2 already", id="the same name twice"),
        pytest.param(
            "prices: [{model: m, input: 1}, {model: n, input: 1}, {model: m, input: 2}]\n",
            1,
            "line 1 already",
            id="the same name twice in one line",
        ),
        pytest.param(
            "prices:\n"
            "  - {model: m, input: 1, to: 2026-05-02}\n"
            "  - {model: n, aliases: [m], input: 1, from: 2026-05-01}\n",
            3,
            "m has a price for the same time in line 2 already",
            id="two rows for one day",
        ),
        pytest.param("prices:\n  - {model: _default, input: 1}\n", 2, "no price for output", id="half a default"),
        *(
            pytest.param(
                f"prices:\n  - {{model: _default, input: 1, output: 1, {field}}}\n",
                2,
                "every provider, time and service tier",
                id=f"a default with {field}",
            )
            for field in (
                "from: 2026-01-01",
                "to: 2026-01-01",
                "days: [mon]",
                "provider: claude",
                "aliases: [other]",
                "service_tiers: {flex: {input: 1, output: 1}}",
            )
        ),
        pytest.param(
            "prices:\n  - {model: _default, input: 1, output: 1}\n  - {model: _default, input: 2, output: 2}\n",
            3,
            "a second row _default",
            id="two defaults",
        ),
    ],
)
def test_a_mistake_is_reported_with_its_line(path: Path, text: str, line: int, says: str) -> None:
    [problem] = problems(path, text)
    assert problem.startswith(f"EXPORTER_PRICES_FILE (prices.yaml:{line}): ")
    assert says in problem


def test_all_mistakes_are_reported_at_once(path: Path) -> None:
    found = problems(path, "prices:\n  - {model: a, input: x}\n  - {model: b, input: 1}\n  - {input: 1}\n")
    assert [problem.partition(")")[0] for problem in found] == [
        "EXPORTER_PRICES_FILE (prices.yaml:2",
        "EXPORTER_PRICES_FILE (prices.yaml:4",
    ]


@pytest.mark.parametrize(
    ("prepare", "says"),
    [
        pytest.param(lambda _: None, "The file does not exist. Create it, or correct the path in", id="no file"),
        pytest.param(lambda path: path.mkdir(), "cannot be read: Is a directory. ", id="a directory"),
        pytest.param(lambda path: path.write_bytes(b"\xff\xfe\x00"), "not UTF-8", id="a binary file"),
    ],
)
def test_a_file_that_cannot_be_read_is_a_problem(path: Path, prepare: object, says: str) -> None:
    assert callable(prepare)
    prepare(path)
    with pytest.raises(ProblemsError, match=says):
        read_price_file(path)
