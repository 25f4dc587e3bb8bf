"""The shape of the code: layers, sizes, tests beside their modules, and one word for one thing."""

import ast
import re
import subprocess
from collections.abc import Iterator, Mapping
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from exporter.ledger.schema import migrations
from tests.benches.checks import of_each
from tests.conftest import LONGEST_FIRST

ROOT = Path(__file__).resolve().parents[3]
PACKAGE = ROOT / "exporter"
UNIT = ROOT / "tests" / "unit"

# Lowest first. A part imports only from earlier rows of this table, and never from its neighbours in a row.
LAYERS = (
    ("sentences",),
    ("clock", "errors", "records", "days", "formats", "logs"),
    ("settings", "quotas"),
    ("normalize",),
    ("sources",),
    ("pricing",),
    ("ledger",),
    ("limits", "usage"),
    ("ingest", "imports"),
    ("history",),
    ("metrics", "web", "jobs"),
    ("wiring",),
    ("app",),
    ("commands",),
    ("cli",),
    ("__main__",),
)
LEVELS = {part: level for level, row in enumerate(LAYERS) for part in row}

# The simulator stands apart: it plays the proxy, so only a command may know it.
SIMULATOR_IMPORTS = {"simulator", "clock", "records", "settings"}
SIMULATOR_IS_IMPORTED_BY = {"simulator", "commands"}

LONGEST_FILE = 400
LONGER_FILES: dict[str, str] = {}
"""Files that may be longer, each with the reason."""

MODULES = {path: path.relative_to(PACKAGE).with_suffix("").parts for path in sorted(PACKAGE.rglob("*.py"))}
PARTS = sorted({parts[0] for parts in MODULES.values()} - {"__init__"})
HELPERS = [path for room in ("fakes", "benches", "stack") for path in sorted((ROOT / "tests" / room).rglob("*.py"))]
TESTS = sorted(UNIT.rglob("test_*.py"))


def _name(path: Path) -> str:
    return str(path.relative_to(ROOT))


@cache
def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def _imports(path: Path) -> Iterator[tuple[str, ...]]:
    """The parts of the package that a module imports, also inside functions: ``("ledger", "ledger")``."""
    for node in ast.walk(_tree(path)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "exporter":
            base = tuple((node.module or "").split(".")[1:])
            for alias in node.names:
                inner = (*base, alias.name)
                is_module = PACKAGE.joinpath(*inner).is_dir() or PACKAGE.joinpath(*inner).with_suffix(".py").exists()
                yield inner if is_module else base
        elif isinstance(node, ast.Import):
            yield from (tuple(each.name.split(".")[1:]) for each in node.names if each.name.startswith("exporter."))


@cache  # not on import, which happens in each process of the tests
def _all_imports() -> Mapping[Path, set[tuple[str, ...]]]:
    return {path: {each for each in _imports(path) if each} for path in MODULES}


def _known_from(part: str) -> dict[str, list[str]]:
    """The other parts that a part imports from, each with the modules that do so."""
    known: dict[str, list[str]] = {}
    for path, imports in _all_imports().items():
        for other in {each[0] for each in imports if MODULES[path][0] == part} - {part}:
            known.setdefault(other, []).append(_name(path))
    return known


# --- layers -----------------------------------------------------------------------------------------------------------


def test_each_package_and_loose_module_has_a_layer() -> None:
    assert set(PARTS) == LEVELS.keys() | {"simulator"}


@of_each((part, part) for part in PARTS if part != "simulator")
def test_imports_point_downward(part: str) -> None:
    upward = {other: by for other, by in _known_from(part).items() if LEVELS.get(other, -1) >= LEVELS[part]}

    assert upward == {}


def test_the_simulator_stands_apart() -> None:
    assert _known_from("simulator").keys() <= SIMULATOR_IMPORTS
    assert {part for part in PARTS if "simulator" in _known_from(part)} <= SIMULATOR_IS_IMPORTED_BY


def test_modules_do_not_import_each_other_in_a_circle() -> None:
    graph = {MODULES[path]: imports - {MODULES[path]} for path, imports in _all_imports().items()}

    TopologicalSorter(graph).prepare()  # raises CycleError, which names the circle


# --- files ------------------------------------------------------------------------------------------------------------


@of_each((_name(path), path) for path in (*MODULES, *HELPERS))
def test_a_file_is_short_enough_to_be_read_at_once(path: Path) -> None:
    lines = len(path.read_text(encoding="utf-8").splitlines())

    assert (lines > LONGEST_FILE) == (_name(path) in LONGER_FILES), f"{lines} lines"


def test_helpers_of_tests_are_in_their_folders() -> None:
    loose = [path.name for path in (ROOT / "tests").glob("*.py") if path.name != "conftest.py"]

    assert loose == []


def test_the_files_that_start_first_exist() -> None:
    assert [name for name in LONGEST_FIRST if not (ROOT / "tests" / name).is_file()] == []


@of_each((_name(path), path) for path in TESTS if path.parent.name != "repository")
def test_a_unit_test_is_where_its_module_is(path: Path) -> None:
    """``test_MODULE.py``, or ``test_MODULE_SUBJECT.py`` where a module's tests fill several files."""
    modules = [each.stem for each in (PACKAGE / path.parent.relative_to(UNIT)).glob("*.py") if each.stem != "__init__"]

    assert any(f"{path.stem}_".startswith(f"test_{module}_") for module in modules), modules


# --- the page about the architecture ----------------------------------------------------------------------------------


def _architecture() -> str:
    return (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")


@of_each((part, part) for part in PARTS)
def test_the_architecture_page_names_each_module(part: str) -> None:
    page = _architecture()
    named = set(re.findall(r"[\w./]*?(\w+)(?:\.py\b|`)", page)) | {"__init__", "__main__"}
    modules = [path for path, parts in MODULES.items() if parts[0] == part]

    assert [_name(path) for path in modules if path.stem not in named] == []


def test_the_architecture_page_names_each_table() -> None:
    tables = set(re.findall(r"^create table (\w+)", "\n".join(migrations()), flags=re.MULTILINE))

    assert tables, "this test finds no tables"
    assert sorted(tables - set(re.findall(r"`(\w+)`", _architecture()))) == []


# --- words ------------------------------------------------------------------------------------------------------------

# Brackets keep the table from finding itself. Released migrations and the changelog's past stay unchanged.
WORDS = {
    "another name for the predecessor": r"(?i)\b(older|earlier|legacy|old|former)[ -]c[o]llector",
}
UNCHANGED = ("supabase/migrations/", "tests/fixtures/", "CHANGELOG.md")


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="an unpacked archive: nothing tells which files are tracked")
@pytest.mark.parametrize("what", WORDS)
def test_one_thing_has_one_name(what: str) -> None:
    listing = subprocess.run(
        ["git", "-c", "safe.directory=*", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    names = [name for name in listing.stdout.split("\0") if name and not name.startswith(UNCHANGED)]
    texts = {name: (ROOT / name).read_bytes().decode(errors="replace") for name in names if (ROOT / name).is_file()}

    assert {name: found[0] for name, text in texts.items() if (found := re.search(WORDS[what], text))} == {}


@of_each((_name(path), path) for path in MODULES)
def test_counted_means_only_the_number_of_requests_of_an_entry(path: Path) -> None:
    """Any other count has a name that says what it counts."""
    other = []
    for node in ast.walk(_tree(path)):
        match node:
            case ast.ClassDef(name="Counted", lineno=line):
                other.append(line)
            case ast.AnnAssign(target=ast.Name(id="counted"), annotation=kind, lineno=line):
                if ast.unparse(kind) != "int":
                    other.append(line)
            case ast.arg(arg="counted", annotation=kind, lineno=line):
                if kind is None or ast.unparse(kind) != "int":
                    other.append(line)

    assert other == []
