"""The image and the stack for real, with buildah and podman; only ``make test-image`` runs them, which prepares both.

Docker Compose itself starts the stack, over podman's service. Stand-ins with the servers of
``scripts/fetch-monitoring`` replace the images of Prometheus and Alertmanager; there is none for Grafana.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.image.engine import IMAGE, PYTHON, Engine
from tests.stack.compose import CHECKOUT, DEMO_ENV, resolved
from tests.stack.monitoring import binaries_of

collect_ignore_glob = [] if "TEST_IMAGE" in os.environ else ["test_*.py"]

_NOTES = pytest.StashKey[list[str]]()

# The wrapper of Debian's Alertmanager looks for its program and templates beside its own folder.
_STAND_IN = f"""\
FROM {PYTHON}
COPY . /opt/suite
RUN ln -s /opt/suite/bin/* /usr/local/bin/ && install --directory --owner 65534 --group 65534 {{data}}
USER 65534:65534
WORKDIR {{data}}
VOLUME {{data}}
ENTRYPOINT ["/usr/local/bin/{{name}}"]
"""


@pytest.fixture(scope="session")
def engine(pytestconfig: pytest.Config) -> Iterator[Engine]:
    """Podman with its own store, serving Docker's interface while the tests run."""
    engine = Engine(Path(os.environ["TEST_IMAGE"]))
    pytestconfig.stash[_NOTES] = engine.notes
    with engine.serving():
        yield engine
    engine.try_podman("image", "prune", "--force")  # the images that this run replaced


@pytest.fixture(scope="session")
def image(engine: Engine) -> str:
    """The exporter's image, built from this checkout without a layer of an earlier build."""
    engine.try_podman("rmi", "--force", IMAGE)
    with engine.timed("image built"):
        engine.podman(
            "build", "--no-cache", "--pull=never", "--network=host", "--format=docker", "--tag", IMAGE, str(CHECKOUT)
        )
    whole, base = (int(engine.podman("image", "inspect", "--format", "{{.Size}}", name)) for name in (IMAGE, PYTHON))
    engine.notes.append(f"image: {whole / 1e6:.0f} MB, of which {(whole - base) / 1e6:.0f} MB on top of its base")
    return IMAGE


@pytest.fixture(scope="session")
def stand_ins(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Images under the compose file's names for Prometheus and Alertmanager, made from the servers of the tests."""
    suite = binaries_of("3.x").prometheus.parent.parent
    services = resolved(env_file=DEMO_ENV)["services"]
    for name, data in (("prometheus", "/prometheus"), ("alertmanager", "/alertmanager")):
        tag = f"docker.io/{services[name]['image']}"
        dockerfile = tmp_path_factory.mktemp(name) / "Dockerfile"
        dockerfile.write_text(_STAND_IN.format(name=name, data=data))
        engine.podman("build", "--pull=never", "--format=docker", "--tag", tag, "--file", str(dockerfile), str(suite))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Show the measurements."""
    for note in config.stash.get(_NOTES, []):
        terminalreporter.write_line(f"measured: {note}")
