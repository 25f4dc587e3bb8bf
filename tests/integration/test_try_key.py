"""``cliproxy-exporter try-key`` beside an exporter whose key was refused."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from exporter.simulator.world import MANAGEMENT_KEY
from tests.fakes.steered.proxy import SteeredProxy
from tests.fakes.steered.server import SteeredServer
from tests.stack.running import exporter_process, run_command
from tests.stack.waiting import wait_until


@pytest.fixture
def server() -> Iterator[SteeredServer]:
    """A proxy with another key than the exporter's, until the test repairs it."""
    with SteeredServer(SteeredProxy(key="another-key-than-ours")) as server:
        yield server


def _try(folder: Path, server: SteeredServer, *arguments: str) -> tuple[int, str, str]:
    settings = {"CLIPROXY_URL": server.url, "CLIPROXY_MANAGEMENT_KEY": MANAGEMENT_KEY}
    done = run_command("try-key", *arguments, cwd=folder, **settings, EXPORTER_DATA_DIR=str(folder / "data"))
    return done.returncode, done.stdout, done.stderr


def test_a_repaired_key_is_tried_at_once_and_the_exporter_continues(tmp_path: Path, server: SteeredServer) -> None:
    with exporter_process(tmp_path, proxy_url=server.url, key=MANAGEMENT_KEY) as program:
        wait_until(lambda: program.logged("state=key_refused"))
        assert "cliproxy-exporter try-key tries this one now" in program.get("/").text
        server.proxy.logins.key = MANAGEMENT_KEY
        code, out, err = _try(tmp_path, server)
        assert (code, err) == (0, "")
        assert out == "proxy default: the key is accepted. A running exporter continues with its next poll.\n"
        program.trigger()
        wait_until(lambda: program.metric("cliproxy_up") == 1)
        assert program.stop() == 0
    assert server.proxy.counts().refused_logins == 1
    assert _try(tmp_path, server, "default") == (
        0,
        "proxy default: its key has not been refused, so there is nothing to try.\n",
        "",
    )


def test_a_key_that_is_still_wrong_is_tried_three_times_in_all(tmp_path: Path, server: SteeredServer) -> None:
    with exporter_process(tmp_path, proxy_url=server.url, key=MANAGEMENT_KEY) as program:
        wait_until(lambda: program.logged("state=key_refused"))
        for times in ("2 times", "3 times", "3 times"):
            code, out, err = _try(tmp_path, server)
            assert (code, err) == (1, "")
            assert out.startswith("problem: ")
            assert f"refused {times}" in out
        assert program.stop() == 0
    assert server.proxy.counts().refused_logins == 3


def test_an_unknown_proxy_name_is_wrong_use(tmp_path: Path, server: SteeredServer) -> None:
    code, _, err = _try(tmp_path, server, "defualt")
    assert (code, err) == (2, "No proxy is named 'defualt'. Did you mean default?\n")
