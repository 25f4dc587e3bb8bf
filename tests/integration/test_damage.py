"""A ledger with damaged bytes is refused, shows exactly what was booked, or is mended and says so."""

import os
import random
import shutil
from collections import Counter
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from exporter.clock import SystemClock
from exporter.demo.server import DemoServer
from exporter.demo.world import MANAGEMENT_KEY
from exporter.errors import LedgerCorruptError
from exporter.ledger.ledger import FILE_NAME
from tests.fakes.program import metrics_of, running, settings_for
