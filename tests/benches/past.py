"""A past for Prometheus: the demo's ledger after a day, and its export as blocks."""

import subprocess
from pathlib import Path

import msgspec
from pydantic import SecretStr

from exporter.ingest.queue import QueueIngest
from exporter.settings.model import Settings
from exporter.wiring import Parts
from tests.benches.program import HASH_KEY
from tests.fakes.steered.traffic import Traffic
from tests.stack.monitoring import Monitoring
from tests.stack.running import run_command


def book_past(data_dir: Path, *, requests: int, ending: float, span_seconds: float) -> None:
    """Fill the ledger of the demo below ``data_dir`` with traffic of this span, priced and booked as a poll would."""
    folder = data_dir / "demo"
    folder.mkdir(parents=True)
    settings = Settings(exporter_data_dir=folder, exporter_hash_key=SecretStr(HASH_KEY), exporter_prices_refresh=False)
    parts = Parts(settings)
    intake = QueueIngest("demo", parts.ingest)
    batch = Traffic(seed=1, zone=settings.zone).batch(requests, ending=ending, span_seconds=span_seconds)
    intake.take(msgspec.json.encode([attempt.record for attempt in batch]))
    parts.ledger.close()


def export_past(data_dir: Path, file: Path) -> None:
    """The output of ``cliproxy-exporter export --format openmetrics`` for the demo's ledger below ``data_dir``."""
    done = run_command(
        "export",
        "--format",
        "openmetrics",
        cwd=data_dir,
        EXPORTER_DATA_DIR=str(data_dir / "demo"),
        EXPORTER_HASH_KEY=HASH_KEY,
    )
    assert done.returncode == 0, done.stderr
    file.write_text(done.stdout, encoding="utf-8")


def import_past(tools: Monitoring, file: Path, workdir: Path) -> None:
    """Make an OpenMetrics file the past of the Prometheus that will run in ``workdir``."""
    # promtool reads the whole file for each block, and makes blocks of two hours unless it may make larger ones.
    making = [str(tools.promtool), "tsdb", "create-blocks-from", "--max-block-duration=168h"]
    subprocess.run(
        [*making, "openmetrics", str(file), str(workdir / "tsdb")],
        check=True,
        capture_output=True,
    )
