"""Docker Compose reads ``docker-compose.yml`` for the tests: what it makes of the file, or what it objects to.

``scripts/fetch-compose`` fetches it; ``TEST_COMPOSE`` names another one. This needs no container engine.
"""

import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.stack.running import environment

CHECKOUT = Path(__file__).resolve().parents[2]
FILE = CHECKOUT / "docker-compose.yml"
DEMO_ENV = CHECKOUT / ".env.demo"

_READ_BY_COMPOSE = ("ALERTMANAGER_", "COMPOSE_", "DOCKER_", "GRAFANA_", "PROMETHEUS_")


def compose_program() -> Path:
    """The path of Docker Compose; fails the test without one."""
    program = Path(os.environ.get("TEST_COMPOSE") or CHECKOUT / ".tools" / "compose" / "docker-compose")
    if not program.exists():
        pytest.fail(
            f"This test needs Docker Compose, not found at {program}: run make test (or scripts/fetch-compose), or set "
            "TEST_COMPOSE.",
            pytrace=False,
        )
    return program


def compose(*arguments: str, env_file: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run Docker Compose over the project's file, with no variables but those of ``env_file`` and ``variables``."""
    kept = {name: value for name, value in environment({}).items() if not name.startswith(_READ_BY_COMPOSE)}
    return subprocess.run(
        [compose_program(), "--project-directory", CHECKOUT, "--file", FILE, "--env-file", env_file, *arguments],
        env={**kept, **variables},
        capture_output=True,
        text=True,
        check=False,
    )


_RESOLVED: dict[tuple[str, frozenset[tuple[str, str]]], str] = {}
"""What Compose said, by the content of the environment file and the variables: many tests ask the same."""


def resolved(*, env_file: Path, **variables: str) -> dict[str, Any]:
    """What Compose makes of the file: names filled in, anchors merged, all short forms expanded."""
    asked = env_file.read_text(), frozenset(variables.items())
    if asked not in _RESOLVED:
        done = compose("config", "--format", "json", env_file=env_file, **variables)
        assert done.returncode == 0, done.stderr
        _RESOLVED[asked] = done.stdout
    found: dict[str, Any] = json.loads(_RESOLVED[asked])
    return found


def passed_on(service: Mapping[str, Any]) -> dict[str, str]:
    """The variables that the service's container gets from the file."""
    return {name: value for name, value in service.get("environment", {}).items() if value is not None}
