"""The pages name files, headings, metrics, settings and states that exist, and their examples work."""

import inspect
import re
from collections.abc import Iterator
from pathlib import Path

from exporter.errors import ProxyError
from exporter.ingest import poller
from exporter.ledger.schema import migrations
from exporter.records import REJECTION_REASONS
from exporter.settings.load import load_settings
from exporter.settings.model import declared
from exporter.sources.proxy_status import STATES, ProxyStatus
from tests.benches.checks import of_each
from tests.stack.pages.reference import FAMILIES

ROOT = Path(__file__).resolve().parents[3]
PAGES = [ROOT / name for name in ("README.md", "README.zh.md", "CHANGELOG.md", "CONTRIBUTING.md")] + sorted(
    (ROOT / "docs").glob("*.md")
)
GENERATED = ("metrics.md", "settings.md")

each_page = of_each((page.name, page) for page in PAGES)
each_written_page = of_each((page.name, page) for page in PAGES if page.name not in GENERATED)

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_PATH = re.compile(r"`((?:exporter|tests|docs|scripts)/[\w./-]*)`")


def _prose(page: Path) -> str:
    return _FENCE.sub("", page.read_text(encoding="utf-8"))


def _examples(page: Path, language: str) -> list[str]:
    return [body for found, body in _FENCE.findall(page.read_text(encoding="utf-8")) if found == language]


def _anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives the headings of a page."""
    headings = re.findall(r"^#+ (.*)$", _prose(page), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def _first_column(page: Path, heading: str) -> set[str]:
    """The words in backticks in the first column of the table below ``heading``, without its head."""
    section = page.read_text(encoding="utf-8").partition(f"## {heading}\n")[2].partition("\n## ")[0]
    rows = [line.split("|")[1] for line in section.splitlines() if line.startswith("|")]
    return {word for row in rows[2:] for word in re.findall(r"`([^`]+)`", row)}


@each_page
def test_every_link_leads_somewhere(page: Path) -> None:
    for link in _LINK.findall(_prose(page)):
        if re.match(r"https?:", link):
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        assert target.exists(), f"{link}: no such file"
        assert target.is_relative_to(ROOT), f"{link} leads out of the repository"
        assert not anchor or anchor in _anchors(target), f"{link}: no such heading"


@each_written_page
def test_every_file_that_a_page_names_exists(page: Path) -> None:
    named = set(_PATH.findall(_prose(page)))

    assert {path for path in named if not (ROOT / path).exists()} == set()


def test_every_page_can_be_reached_from_the_readme() -> None:
    linked: set[Path] = set()
    waiting = [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        for link in _LINK.findall(_prose(page)):
            target = (page.parent / link.partition("#")[0]).resolve()
            if target.suffix == ".md" and target.exists() and target not in linked:
                linked.add(target)
                waiting.append(target)

    assert set(PAGES) - linked - {ROOT / "README.md"} == set()


# --- names ------------------------------------------------------------------------------------------------------------


def _sample_names() -> Iterator[str]:
    for family in FAMILIES:
        yield family.sample_name
        if family.kind == "histogram":
            yield from (f"{family.name}_{part}" for part in ("bucket", "sum", "count"))


@each_page
def test_every_metric_that_a_page_names_exists(page: Path) -> None:
    named = set(re.findall(r"\bcliproxy_\w+", page.read_text(encoding="utf-8")))

    assert named - set(_sample_names()) == set()


@each_page
def test_every_label_in_a_query_belongs_to_its_metric(page: Path) -> None:
    labels = {family.sample_name: {*family.labels} for family in FAMILIES}
    labels |= {f"{family.name}_bucket": {*family.labels, "le"} for family in FAMILIES}

    for query in _examples(page, "promql"):
        metrics = set(re.findall(r"\bcliproxy_\w+", query))
        grouped = {
            name.strip() for group in re.findall(r"\b(?:by|without) \(([^)]*)\)", query) for name in group.split(",")
        }
        selected = set(re.findall(r'(\w+)(?:=~|!~|!=|=)"', query))
        known = {label for metric in metrics for label in labels[metric]}

        assert metrics, f"a query without a metric: {query}"
        assert (grouped | selected) - known == set(), query


@each_written_page
def test_every_setting_that_a_page_names_exists(page: Path) -> None:
    known = {name for setting in declared() for name in setting.names}
    first_words = {name.partition("_")[0] for name in known}
    text = re.findall(r"\b[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+\b|\bTIMEZONE\b", page.read_text(encoding="utf-8"))

    assert {name for name in text if name.partition("_")[0] in first_words} - known == set()


# --- tables -----------------------------------------------------------------------------------------------------------


def _reasons(error: type[ProxyError]) -> set[str]:
    below = error.__subclasses__()
    return set().union(*map(_reasons, below)) if below else {error.reason}


def test_exactly_the_states_that_a_proxy_can_reach_are_declared() -> None:
    entered = set(re.findall(r'_enter\(\s*"(\w+)"', inspect.getsource(poller)))

    assert _reasons(ProxyError) | entered | {ProxyStatus(name="any").state} == set(STATES)


def test_the_architecture_page_names_exactly_the_modules() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    rooms = dict(re.findall(r"^### `(exporter/(?:\w+/)?)`\n(.*?)(?=^##)", page, flags=re.MULTILINE | re.DOTALL))
    first_columns = {room: re.findall(r"^\|([^|]+)\|", text, flags=re.MULTILINE) for room, text in rooms.items()}
    named = {
        room + module
        for room, column in first_columns.items()
        for module in re.findall(r"`([\w/]+\.py)`", "".join(column))
    }

    modules = (path for path in (ROOT / "exporter").rglob("*.py") if path.name != "__init__.py")
    assert named == {path.relative_to(ROOT).as_posix() for path in modules}


def test_the_architecture_page_explains_exactly_the_tables_of_the_ledger() -> None:
    tables = set(re.findall(r"create table (\w+)", "".join(migrations())))

    assert _first_column(ROOT / "docs" / "architecture.md", "Tables") == tables


def test_exactly_the_reasons_of_rejections_are_explained() -> None:
    assert _first_column(ROOT / "docs" / "reference.md", "Rejected records") == set(REJECTION_REASONS)


def test_every_event_of_the_log_is_explained() -> None:
    code = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "exporter").rglob("*.py"))
    logged = set(re.findall(r'\b_\w*log\.(?:info|warning|error)\(\s*"(\w+)"', code))
    explained = _first_column(ROOT / "docs" / "reference.md", "Log events")

    assert logged <= explained
    assert {event for event in explained if f'"{event}"' not in code} <= {
        "_not_reloaded",
        "aliases_reloaded",
        "prices_reloaded",
    }


# --- examples ---------------------------------------------------------------------------------------------------------


def test_the_example_of_several_proxies_is_accepted(tmp_path: Path) -> None:
    (example,) = _examples(ROOT / "docs" / "proxies.md", "yaml")[1:]
    (tmp_path / "exporter.yaml").write_text(example, encoding="utf-8")
    (tmp_path / "secrets").mkdir()
    for name in ("home", "office"):
        (tmp_path / "secrets" / name).write_text("a-management-key\n", encoding="utf-8")

    loaded = load_settings({"EXPORTER_CONFIG": "exporter.yaml"}, cwd=tmp_path)

    assert loaded.problems == []
    assert [proxy.name for proxy in loaded.require().proxies] == ["home", "office"]
