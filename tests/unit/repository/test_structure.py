"""The shape of the code: layers, sizes, and tests beside their modules."""

import ast
from collections.abc import Iterator, Mapping
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from tests.conftest import LONGEST_FIRST

ROOT = Path(__file__).resolve().parents[3]
PACKAGE = ROOT / "exporter"
UNIT = ROOT / "tests" / "unit"

# Lowest first. A part imports only from rows above its own in this table, and never from its neighbours in a row.
LAYERS = (
    ("clock", "errors", "records", "days", "formats", "logs"),
    ("settings", "quotas"),
    ("normalize",),
    ("proxy_status",),
    ("sources",),
    ("pricing",),
    ("ledger",),
    ("limits",),
    ("ingest",),
    ("history",),
    ("metrics", "web", "scheduler"),
    ("app",),
    ("commands",),
    ("cli",),
    ("__main__",),
)
LEVELS = {part: level for level, row in enumerate(LAYERS) for part in row}

# The simulator stands apart: it plays the proxy, so nothing but a command may know it.
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


def _imports(path: Path) -> Iterator[tuple[str, ...]]:
    """What a module imports of the package, as parts below it: ``("ledger", "ledger")``; also inside functions."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "exporter":
            base = tuple((node.module or "").split(".")[1:])
            for alias in node.names:
                inner = (*base, alias.name)
                is_module = PACKAGE.joinpath(*inner).is_dir() or PACKAGE.joinpath(*inner).with_suffix(".py").exists()
                yield inner if is_module else base
        elif isinstance(node, ast.Import):
            yield from (tuple(each.name.split(".")[1:]) for each in node.names if each.name.startswith("exporter."))


IMPORTS: Mapping[Path, set[tuple[str, ...]]] = {path: {each for each in _imports(path) if each} for path in MODULES}


def _known_from(part: str) -> dict[str, list[str]]:
    """The other parts that a part imports from, each with the modules that do so."""
    known: dict[str, list[str]] = {}
    for path, imports in IMPORTS.items():
        for other in {each[0] for each in imports if MODULES[path][0] == part} - {part}:
            known.setdefault(other, []).append(_name(path))
    return known


# --- layers -----------------------------------------------------------------------------------------------------------


def test_each_package_and_loose_module_has_a_layer() -> None:
    assert set(PARTS) == LEVELS.keys() | {"simulator"}


def test_the_simulator_stands_apart() -> None:
    assert _known_from("simulator").keys() <= SIMULATOR_IMPORTS
    assert {part for part in PARTS if "simulator" in _known_from(part)} <= SIMULATOR_IS_IMPORTED_BY


def test_modules_import_each_other_in_no_circle() -> None:
    graph = {MODULES[path]: imports - {MODULES[path]} for path, imports in IMPORTS.items()}

    TopologicalSorter(graph).prepare()  # raises CycleError, which names the circle


# --- files ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", HELPERS, ids=_name)
def test_a_file_is_short_enough_to_be_read_at_once(path: Path) -> None:
    lines = len(path.read_text(encoding="utf-8").splitlines())

    assert (lines > LONGEST_FILE) == (_name(path) in LONGER_FILES), f"{lines} lines"


def test_helpers_of_tests_stand_in_their_rooms() -> None:
    loose = [path.name for path in (ROOT / "tests").glob("*.py") if path.name != "conftest.py"]

    assert loose == []


def test_the_files_that_are_begun_first_exist() -> None:
    assert [name for name in LONGEST_FIRST if not (ROOT / "tests" / name).is_file()] == []


@pytest.mark.parametrize(
    "path", [path for path in TESTS if path.parent.name != "repository"], ids=lambda path: str(path.relative_to(UNIT))
)
def test_a_unit_test_stands_where_its_module_stands(path: Path) -> None:
    """``test_MODULE.py``, or ``test_MODULE_SUBJECT.py`` where a module's tests fill several files."""
    modules = [each.stem for each in (PACKAGE / path.parent.relative_to(UNIT)).glob("*.py") if each.stem != "__init__"]

    assert any(f"{path.stem}_".startswith(f"test_{module}_") for module in modules), modules
