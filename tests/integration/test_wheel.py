"""What pip, pipx and uvx install: the wheel alone, away from the checkout."""

import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

from exporter import __version__

ROOT = Path(__file__).resolve().parents[2]
_NOT_PACKAGED = shutil.ignore_patterns("__pycache__", "*.pyc")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    source = tmp_path_factory.mktemp("source")
    shutil.copytree(ROOT / "exporter", source / "exporter", ignore=_NOT_PACKAGED)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    _uv("build", "--no-build-isolation", "--python", sys.executable, source)
    (built,) = source.glob("dist/*.whl")
    return built


def _run(*command: str | Path, cwd: Path = ROOT) -> str:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def _uv(*arguments: str | Path) -> None:
    _run(Path(sys.executable).with_name("uv"), *arguments)


def test_it_holds_every_file_of_the_package(wheel: Path, tmp_path: Path) -> None:
    shutil.copytree(ROOT / "exporter", tmp_path / "exporter", ignore=_NOT_PACKAGED)
    ours = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}

    with zipfile.ZipFile(wheel) as content:
        packed = {name for name in content.namelist() if ".dist-info/" not in name}

    assert packed == ours


def test_it_runs_in_a_separate_environment(wheel: Path, tmp_path: Path) -> None:
    venv = tmp_path / "venv"
    _uv("venv", "--python", sys.executable, venv)
    _uv("pip", "install", "--offline", "--no-deps", "--python", venv, wheel)
    # The dependencies come from this environment, so that no network is needed; the checkout, which is also reachable
    # from it, does not.
    packages = sysconfig.get_path("purelib", vars={"base": str(venv)})
    Path(packages, "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    program = venv / "bin" / "cliproxy-exporter"

    version = _run(program, "--version", cwd=tmp_path)
    price = _run(program, "price", "claude-opus-4-6", cwd=tmp_path)
    code = _run(venv / "bin" / "python", "-c", "import exporter; print(exporter.__file__)", cwd=tmp_path)

    assert version.strip().endswith(__version__)
    assert "per million" in price
    assert Path(code.strip()).is_relative_to(venv)
