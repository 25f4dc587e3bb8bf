"""Where the shipped files are, and copies of them that a test may change."""

import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.stack.monitoring import VERSION_LINES, Monitoring, binaries_of

ROOT = Path(__file__).resolve().parents[3]
PROMETHEUS = ROOT / "prometheus"
ALERTMANAGER = ROOT / "alertmanager"
EXAMPLES = sorted((ALERTMANAGER / "examples").glob("*.yml"))


@pytest.fixture(params=VERSION_LINES)
def binary(request: pytest.FixtureRequest) -> Monitoring:
    """The programs of each version line, one after the other."""
    line: str = request.param
    return binaries_of(line)


@pytest.fixture
def newest() -> Monitoring:
    """The programs of the version line in the bundled stack."""
    return binaries_of(VERSION_LINES[-1])


def installed(config: Path, folder: Path, *, secrets: Mapping[str, str], changes: Mapping[str, str]) -> Path:
    """Make Alertmanager's folder with a copy of ``config`` in it, as a user does; return the copy.

    ``folder`` stands for ``/etc/alertmanager``. ``secrets`` are the files in ``secrets/`` by name. ``changes`` are
    replacements, once each, that lead to the test's own servers.
    """
    shutil.copytree(ALERTMANAGER, folder)
    for name, secret in secrets.items():
        (folder / "secrets" / name).write_text(secret)
    text = config.read_text().replace("/etc/alertmanager", str(folder))
    named = set(re.findall(rf"{re.escape(str(folder))}/secrets/([\w-]+)$", text, flags=re.MULTILINE))
    assert named == secrets.keys(), "the secrets that the file asks for"
    for old, new in changes.items():
        assert text.count(old) == 1, f"{old} in {config.name}"
        text = text.replace(old, new)
    copied = folder / "my-alertmanager.yml"
    copied.write_text(text)
    return copied


def receiver_of(binary: Monitoring, labels: Mapping[str, str], config: Path) -> str:
    """The receiver to which Alertmanager sends an alert with these labels, according to amtool."""
    pairs = [f"{name}={value}" for name, value in labels.items()]
    command = [str(binary.amtool), "config", "routes", "test", f"--config.file={config}", *pairs]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()
