"""On a machine with only the exporter, its own warnings reach a webhook."""

import time
from pathlib import Path

from exporter.simulator.world import MANAGEMENT_KEY
from tests.fakes.receivers import web_receiver
from tests.fakes.steered.proxy import SteeredProxy
from tests.fakes.steered.server import SteeredServer
from tests.fakes.steered.traffic import Traffic
from tests.stack.running import exporter_process, run_command
from tests.stack.waiting import wait_until


def test_an_exhausted_limit_is_announced(tmp_path: Path) -> None:
    limit = "{id: few, strategy: rolling, window_minutes: 43200, requests: 50}"
    (tmp_path / "limits.yaml").write_text(f"limits:\n- {limit}\n")
    proxy = SteeredProxy(key=MANAGEMENT_KEY)
    proxy.publish(Traffic(seed=5, zone=proxy.zone, shape=proxy.shape).batch(100, ending=time.time()))
    with (
        web_receiver() as receiver,
        SteeredServer(proxy) as server,
        exporter_process(
            tmp_path,
            proxy_url=server.url,
            key=MANAGEMENT_KEY,
            EXPORTER_LIMITS_FILE="limits.yaml",
            LOG_LEVEL="debug",
            EXPORTER_NOTIFY_URLS=receiver.url.replace("http://", "json://") + "/planted-token",
        ) as process,
    ):
        told = wait_until(lambda: [posted.body for posted in receiver.received if "few" in posted.body["title"]])
        assert process.stop() == 0

    assert (told[0]["title"][:5], told[0]["type"]) == ("few: ", "failure")
    assert "used of 50 requests (critical from 95% on)." in told[0]["message"]
    assert "planted-token" not in "\n".join(process.log)


def test_a_test_message_says_whether_it_arrived(tmp_path: Path) -> None:
    with web_receiver() as receiver:
        arrived = run_command(
            "notify", "--test", cwd=tmp_path, EXPORTER_NOTIFY_URLS=receiver.url.replace("http://", "json://")
        )
    lost = run_command("notify", "--test", cwd=tmp_path, EXPORTER_NOTIFY_URLS="json://127.0.0.1:9/planted-token")
    nobody = run_command("notify", "--test", cwd=tmp_path)

    assert (arrived.returncode, arrived.stdout) == (0, "1 (JSON): sent\n")
    assert len(receiver.received) == 1
    assert (lost.returncode, lost.stdout) == (1, "1 (JSON): not taken\n")
    assert "planted-token" not in lost.stderr
    assert nobody.returncode == 2
    assert "EXPORTER_NOTIFY_URLS" in nobody.stderr
