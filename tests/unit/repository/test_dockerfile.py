"""The Dockerfile keeps its promises: pinned, without root, without secrets, and with the settings that it names."""

import re
import subprocess
import sys
from pathlib import Path

from exporter import __version__
from exporter.settings.model import declared

ROOT = Path(__file__).resolve().parents[3]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
_LINES = [line for line in DOCKERFILE.replace("\\\n", " ").splitlines() if line and not line.startswith("#")]
_FINAL = _LINES[max(number for number, line in enumerate(_LINES) if line.startswith("FROM ")) :]


def _argument(instruction: str) -> str:
    (found,) = [line.partition(" ")[2] for line in _FINAL if line.startswith(f"{instruction} ")]
    return found


def test_the_linter_finds_nothing() -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([hadolint, ROOT / "Dockerfile"], capture_output=True, text=True, check=False)

    assert (done.stdout, done.returncode) == ("", 0)


def test_both_stages_use_the_same_python() -> None:
    bases = [line.split()[1] for line in _LINES if line.startswith("FROM ")]

    assert len(bases) == 2
    assert set(bases) == {"python:3.13-slim-trixie"}


def test_the_label_has_the_version_of_the_program() -> None:
    assert f'org.opencontainers.image.version="{__version__}"' in _argument("LABEL")


def test_it_runs_as_a_user_that_is_visibly_not_root() -> None:
    user, group = _argument("USER").split(":")

    assert int(user) > 0
    assert int(group) > 0


def test_everything_is_installed_from_the_lock_file_and_as_wheels() -> None:
    (install,) = [line for line in _LINES if "install" in line and "requirements.txt" in line]

    assert "--require-hashes" in install
    assert "--only-binary :all:" in install
    assert not any("apt-get" in line or "apk " in line for line in _LINES), (
        "no compiler and nothing else that is unpinned"
    )


def test_the_settings_that_it_sets_exist() -> None:
    known = {name for setting in declared() for name in setting.names}
    names = re.findall(r"(\w+)=", _argument("ENV"))

    assert {name for name in names if name.startswith("EXPORTER_")} == {"EXPORTER_HOST", "EXPORTER_DATA_DIR"}
    assert {name for name in names if name.startswith("EXPORTER_")} <= known
    assert [line for line in _LINES if line.startswith("ARG ")] == [], "an argument stays in the history of the image"


def test_only_copied_files_are_sent_to_the_build() -> None:
    copied = {
        word for line in _LINES if line.startswith("COPY ") and "--from" not in line for word in line.split()[1:-1]
    }
    ignored = (ROOT / ".dockerignore").read_text().splitlines()

    assert "*" in ignored
    assert {line.removeprefix("!") for line in ignored if line.startswith("!")} == copied
