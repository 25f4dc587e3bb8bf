"""The repository's promises: its commands, its lock files, and the content that tracked files must not have."""

import os
import re
import shutil
import subprocess
import tomllib
from collections.abc import Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
RUNTIME_LOCK = "requirements.txt"
TEST_LOCK = "requirements-test.txt"

# Brackets keep the table from finding itself.
FORBIDDEN = {
    "a path of somebody's machine": r"(?<![\w.])/([w]ork|[r]oot|[h]ome|[U]sers|[t]mp)/\w|[.]p[y]env\b",
    "a package registry": r"p[y]pi[.]org|p[y]thonhosted|registry[.]n[p]mjs",
    "a setting of a package registry": r"--(extra-)?[i]ndex-url|--[f]ind-links|--[t]rusted-host|\"[r]esolved\":",
}


def _run(command: list[str], *, cwd: Path, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run a command as a user does: without the variables that an outer make hands to its children."""
    clean = {name: value for name, value in os.environ.items() if name not in {"MAKEFLAGS", "MAKELEVEL", "MFLAGS"}}
    return subprocess.run(command, cwd=cwd, env={**clean, **(env or {})}, capture_output=True, text=True, check=False)


def _program(path: Path, body: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/bash\n{body}\n")
    path.chmod(0o755)


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _pins(lock: str) -> dict[str, str]:
    lines = re.findall(r"^([A-Za-z0-9._-]+)==(\S+)", (ROOT / lock).read_text(), flags=re.MULTILINE)
    return {_canonical(name): version for name, version in lines}


def _names(requirements: list[str]) -> set[str]:
    return {_canonical(re.split(r"[^A-Za-z0-9._-]", each, maxsplit=1)[0]) for each in requirements}


def _tracked_files() -> list[str]:
    # The checkout may belong to another user than the one that runs the tests.
    listing = _run(["git", "-c", "safe.directory=*", "ls-files", "-z"], cwd=ROOT)
    assert listing.returncode == 0, listing.stderr
    return [name for name in listing.stdout.split("\0") if name and (ROOT / name).is_file()]


# --- lock files -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lock", [RUNTIME_LOCK, TEST_LOCK])
def test_a_lock_file_names_no_address(lock: str) -> None:
    assert "://" not in (ROOT / lock).read_text()


def test_every_dependency_is_pinned() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    runtime = _names(project["project"]["dependencies"] + project["build-system"]["requires"])
    test = _names(project["project"]["optional-dependencies"]["test"])

    assert runtime - _pins(RUNTIME_LOCK).keys() == set(), "run make lock"
    assert (runtime | test) - _pins(TEST_LOCK).keys() == set(), "run make lock"


def test_the_tested_packages_are_the_ones_that_run() -> None:
    tested = _pins(TEST_LOCK)
    assert {name: tested.get(name) for name in _pins(RUNTIME_LOCK)} == _pins(RUNTIME_LOCK)


# --- commands ---------------------------------------------------------------------------------------------------------

_SET_UP = ("make-venv", "find-node", "fetch-monitoring", "fetch-chromium", "fetch-compose", "fetch-supabase")
"""The scripts that set up what the checks need."""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of the Makefile and its scripts, in which a test may replace the real programs."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    shutil.copytree(ROOT / "scripts", tmp_path / "scripts")
    shutil.copytree(ROOT / ".ci", tmp_path / ".ci")
    return tmp_path


def test_make_alone_lists_every_command() -> None:
    commands = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)) - {"venv"}
    listed = _run(["make"], cwd=ROOT)

    assert {"run", "test", "test-fast", "lint", "type", "bench", "docs", "lock", "clean", "help"} <= commands
    assert {line.split()[1] for line in listed.stdout.splitlines()} == commands


def test_make_run_lets_the_program_choose_between_proxy_and_demo(checkout: Path) -> None:
    _program(checkout / "scripts/make-venv", 'echo "set up: $*"')
    _program(checkout / ".tools/run-venv/bin/cliproxy-exporter", 'echo "started: $*"')

    done = _run(["make", "run"], cwd=checkout)

    assert done.stdout.splitlines() == ["set up: run-venv requirements.txt", "started: run --or-demo"]


def test_make_clean_keeps_data_and_settings(checkout: Path) -> None:
    for name in [".tools/venv/stamp", ".mypy_cache/x", "exporter/__pycache__/x", "data/ledger", "exporter/app.py"]:
        (checkout / name).parent.mkdir(parents=True, exist_ok=True)
        (checkout / name).touch()
    (checkout / ".env").touch()

    assert _run(["make", "clean"], cwd=checkout).returncode == 0

    left = {path.relative_to(checkout).parts[0] for path in checkout.iterdir()}
    assert left == {"Makefile", "scripts", ".ci", "data", ".env", "exporter"}
    assert [path.name for path in (checkout / "exporter").iterdir()] == ["app.py"]


def test_ci_runs_make_test_in_the_checkout_and_nothing_else(
    checkout: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    _program(elsewhere / "make", 'echo "make $* in $PWD"; exit 7')

    done = _run([str(checkout / ".ci/run")], cwd=elsewhere, env={"PATH": f"{elsewhere}:{os.environ['PATH']}"})

    assert (done.stdout, done.returncode) == (f"make test in {checkout}\n", 7)


@pytest.mark.parametrize(
    ("failing", "blamed"),
    [
        pytest.param([], [], id="all is well"),
        pytest.param(["ruff"], ["ruff check", "ruff format --check"], id="style is not"),
        pytest.param(["mypy", "python"], ["mypy", "pytest"], id="types and tests are not"),
        pytest.param(["fetch-compose"], ["Docker Compose for the tests"], id="a download is not"),
    ],
)
def test_all_checks_run_and_each_failure_is_named(checkout: Path, failing: list[str], blamed: list[str]) -> None:
    for name in _SET_UP:
        _program(checkout / "scripts" / name, f"exit {int(name in failing)}")
    for name in ["ruff", "mypy", "python"]:
        _program(checkout / ".tools/venv/bin" / name, f"exit {int(name in failing)}")

    done = _run(["scripts/check"], cwd=checkout)

    steps = [line.removeprefix("== ") for line in done.stdout.splitlines()]
    set_up = [f"{what} for the tests" for what in ("Prometheus servers", "Docker Compose", "Chromium", "Supabase")]
    assert steps == [*set_up, "ruff check", "ruff format --check", "mypy", "pytest"]
    assert done.stderr.splitlines() == [f"failed: {name}" for name in blamed]
    assert done.returncode == bool(blamed)


def test_findings_of_the_type_check_are_shown_after_the_tests(checkout: Path) -> None:
    for name in _SET_UP:
        _program(checkout / "scripts" / name, "")
    _program(checkout / ".tools/venv/bin/ruff", "")
    _program(checkout / ".tools/venv/bin/mypy", "touch begun; echo 'app.py:1: error: a text is no number'; exit 1")
    # The tests of this checkout end once the type check has begun beside them.
    tests = '[[ "$*" = *--collect-only* ]] || { until [ -f begun ]; do sleep 0.01; done; echo 1 passed; }'
    _program(checkout / ".tools/venv/bin/python", tests)

    done = _run(["scripts/check"], cwd=checkout)

    assert done.stdout.splitlines()[-2:] == ["1 passed", "app.py:1: error: a text is no number"]
    assert done.stderr == "failed: mypy\n"


@pytest.mark.parametrize(
    ("ci", "code", "says"),
    [
        pytest.param("", 0, "skipped: buildah is not installed (apt install ", id="a user's machine"),
        pytest.param("true", 1, "test-image: buildah is not installed (apt install ", id="continuous integration"),
    ],
)
def test_without_buildah_the_image_is_not_tested_and_the_output_says_so(
    checkout: Path, tmp_path_factory: pytest.TempPathFactory, ci: str, code: int, says: str
) -> None:
    path = tmp_path_factory.mktemp("bin")
    for name in ("bash", "dirname", "make"):
        (path / name).symlink_to(shutil.which(name) or name)

    done = _run(["scripts/test-image"], cwd=checkout, env={"PATH": str(path), "CI": ci})

    assert done.returncode == code
    assert (done.stdout + done.stderr).startswith(says)
    assert not (checkout / ".tools").exists()


_USUAL = ["python3", "python3.14", "python3.13", "python3.12", "python3.11"]
_BROKEN_SHIM = "exit 127"
_WITHOUT_ENSUREPIP = 'case "$*" in *print*) echo 3.12;; *ensurepip*) exit 1;; esac'
_TOO_OLD = 'case "$*" in *print*) echo 3.9;; *version_info*) exit 1;; esac'
_GOOD = 'case "$*" in *print*) echo 3.13;; --version) echo Python 3.13.9;; *venv\\ *) echo "made"; exit 1;; esac'


@pytest.mark.parametrize(
    ("programs", "sentence"),
    [
        pytest.param({}, "there is none by the name of: python3 ", id="no Python"),
        pytest.param(
            {"python3": _TOO_OLD}, "Python 3.11 or newer is needed, and python3 is Python 3.9.", id="old Python"
        ),
        pytest.param(
            {"python3": _WITHOUT_ENSUREPIP},
            "python3 (Python 3.12) cannot make virtual environments. On Debian and Ubuntu: apt install python3-venv",
            id="Python without venv",
        ),
        pytest.param(
            {"python3": _TOO_OLD, "python3.12": _WITHOUT_ENSUREPIP},
            "apt install python3.12-venv",
            id="the good one lacks venv",
        ),
        pytest.param(
            {"python3": _TOO_OLD, "python3.13": _GOOD},
            "with Python 3.13.9, once",
            id="old python3 beside a good python3.13",
        ),
    ],
)
def test_setting_up_finds_a_python_or_says_what_is_missing(
    checkout: Path, tmp_path_factory: pytest.TempPathFactory, programs: dict[str, str], sentence: str
) -> None:
    path = tmp_path_factory.mktemp("bin")
    for name in _USUAL:
        _program(path / name, programs.get(name, _BROKEN_SHIM))
    for name in ["pyproject.toml", RUNTIME_LOCK]:
        shutil.copy(ROOT / name, checkout)

    done = _run(
        ["scripts/make-venv", "venv", RUNTIME_LOCK],
        cwd=checkout,
        env={"PATH": f"{path}:{os.environ['PATH']}", "PYTHON": ""},
    )

    assert sentence in done.stdout + done.stderr
    assert done.returncode == 1, "none of these can make an environment"
    assert not (checkout / ".tools/venv/stamp").exists()


# A python3 whose environments hold a python that obeys every order, unless the lock file is empty.
_PYTHON_THAT_WORKS = """
case "$*" in *print*) echo 3.13;; --version) echo Python 3.13.9;; esac
[ "$1 $2" = "-m venv" ] || exit 0
mkdir -p "$3/bin"
printf '#!/bin/bash\\n[ -s requirements.txt ]\\n' >"$3/bin/python"
chmod +x "$3/bin/python"
"""


def test_setting_up_happens_once_for_each_state_of_its_inputs(
    checkout: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    python = tmp_path_factory.mktemp("bin") / "python"
    _program(python, _PYTHON_THAT_WORKS)
    lock = checkout / RUNTIME_LOCK
    project = checkout / "pyproject.toml"
    lock.write_text("first==1\n")
    project.write_text("[project]\n")

    def sets_up(place: Path = checkout, python: Path = python) -> bool:
        done = _run(["scripts/make-venv", "venv", RUNTIME_LOCK], cwd=place, env={"PYTHON": str(python)})
        assert done.returncode == 0, done.stderr
        return "Setting up" in done.stdout

    assert [sets_up(), sets_up()] == [True, False]

    lock.write_text("first==2\n")
    assert [sets_up(), sets_up()] == [True, False], "another lock file"

    project.write_text("[project]\nname = 'x'\n")
    assert [sets_up(), sets_up()] == [True, False], "other metadata"

    other = python.with_name("other-python")
    shutil.copy(python, other)
    assert [sets_up(python=other), sets_up(python=other)] == [True, False], "another interpreter"

    moved = checkout.rename(checkout.with_name("moved"))
    assert [sets_up(moved, other), sets_up(moved, other)] == [True, False], "another place"


def test_setting_up_that_failed_starts_over(checkout: Path, tmp_path: Path) -> None:
    _program(tmp_path / "python", _PYTHON_THAT_WORKS)
    (checkout / "pyproject.toml").touch()
    (checkout / RUNTIME_LOCK).touch()
    command = ["scripts/make-venv", "venv", RUNTIME_LOCK]
    env = {"PYTHON": str(tmp_path / "python")}

    attempts = [_run(command, cwd=checkout, env=env) for _ in range(2)]

    assert [each.returncode for each in attempts] == [1, 1]
    assert all("pip could not install what requirements.txt pins" in each.stderr for each in attempts)
    assert all("Setting up" in each.stdout for each in attempts)


@pytest.mark.parametrize(
    ("left_out", "is_fetched"),
    [
        pytest.param("", False, id="all four programs are there"),
        pytest.param("alertmanager", True, id="a folder from before Alertmanager was needed"),
        pytest.param("VERSION", True, id="a folder that is not whole"),
    ],
)
def test_monitoring_servers_are_fetched_if_one_of_their_programs_is_missing(
    checkout: Path, tmp_path_factory: pytest.TempPathFactory, left_out: str, is_fetched: bool
) -> None:
    path = tmp_path_factory.mktemp("bin")
    for name in ["apt-get", "apt-cache", "dpkg-deb"]:
        _program(path / name, "echo nothing to be had >&2; exit 1")
    for suite, version in [("bookworm", "2.42.0+ds"), ("forky", "3.5.3+ds")]:
        folder = checkout / ".tools/monitoring" / suite
        for name in ["prometheus", "promtool", "alertmanager", "amtool"]:
            _program(folder / "bin" / name, "")
        (folder / "VERSION").write_text(f"{version}\n")
    for missing in (checkout / ".tools/monitoring/forky").rglob(left_out or "none"):
        missing.unlink()

    done = _run(
        ["scripts/fetch-monitoring"],
        cwd=checkout,
        env={"PATH": f"{path}:{os.environ['PATH']}", "TEST_MONITORING_DIR": ""},
    )

    assert done.returncode == int(is_fetched)
    assert ("TEST_MONITORING_DIR" in done.stderr) == is_fetched


# --- tracked files ----------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="an unpacked archive: nothing tells which files are tracked")
@pytest.mark.parametrize("what", FORBIDDEN)
def test_no_tracked_file_holds(what: str) -> None:
    # Recorded answers stay byte for byte, including what a proxy's machine revealed in them.
    names = [name for name in _tracked_files() if not name.startswith("tests/fixtures/")]
    pattern = re.compile(FORBIDDEN[what].encode())

    found = {name: each.group().decode() for name in names if (each := pattern.search((ROOT / name).read_bytes()))}

    assert found == {}


@pytest.mark.parametrize(
    "path",
    [path for folder in [".ci", "scripts"] for path in sorted((ROOT / folder).iterdir())],
    ids=lambda path: path.name,
)
def test_a_script_is_executable(path: Path) -> None:
    assert os.access(path, os.X_OK)
    assert _run(["bash", "-n", str(path)], cwd=ROOT).stderr == ""
