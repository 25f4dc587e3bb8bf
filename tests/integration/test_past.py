"""Prometheus can have a past: the export becomes blocks of its database."""

import subprocess
from datetime import UTC
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec

from exporter.clock import Clock
from exporter.commands.export import write_openmetrics
from exporter.ingest.parts import IngestParts
from exporter.ingest.queue import QueueIngest
from exporter.ledger.database import FILE_NAME
from exporter.ledger.ledger import Ledger
from exporter.ledger.shown_names import ShownNames
from exporter.normalize.pseudonyms import Pseudonyms
from exporter.pricing.lookup import NO_PRICES
from exporter.pricing.pricer import Pricer
from exporter.settings.proxies import Aliases
from tests.fakes.steered.traffic import Traffic
from tests.stack.monitoring import prometheus_binaries


def test_promtool_makes_blocks_of_an_export(tmp_path: Path) -> None:
    clock, pseudonym = Clock(), Pseudonyms(b"k").of
    ledger = Ledger(tmp_path / FILE_NAME, clock=clock, zone=UTC)
    batch = Traffic(seed=1, zone=UTC).batch(500, ending=clock.now(), span_seconds=86_400)
    QueueIngest("p", IngestParts(ledger=ledger, pricer=Pricer(NO_PRICES), pseudonym=pseudonym, clock=clock)).take(
        msgspec.json.encode([attempt.record for attempt in batch])
    )
    past = tmp_path / "past.om"
    with ledger.reading() as connection, past.open("w") as file:
        shown_names = ShownNames(ledger.name_store, Aliases(), pseudonym)
        write_openmetrics(connection, shown_names, (0, int(clock.now() * 1000) + 900_000), file)
    samples = sum(not line.startswith("#") for line in past.read_text().splitlines())

    # promtool reserves half a GiB for each block until it is written, which takes seconds in a file system in memory.
    with TemporaryDirectory(dir="/var/tmp") as disk:
        for tools in prometheus_binaries():
            blocks = Path(disk) / tools.line
            made = subprocess.run(
                [tools.promtool, "tsdb", "create-blocks-from", "openmetrics", past, blocks],
                capture_output=True,
                text=True,
                check=False,
            )
            assert made.returncode == 0, made.stderr
            stored = sum(
                msgspec.json.decode(meta.read_bytes())["stats"]["numSamples"] for meta in blocks.glob("*/meta.json")
            )
            assert stored == samples
