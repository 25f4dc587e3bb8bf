"""P5, windows: the cost of 50 limits over a grown ledger, against plain sums over its entries; a pool of accounts."""

import sqlite3
import time
from collections.abc import Callable
from datetime import UTC
from functools import partial
from pathlib import Path

from benchmarks.measure import cpu_seconds
from benchmarks.program import Program
from benchmarks.report import Section
from exporter.ledger.database import FILE_NAME
from exporter.ledger.shown_names import ShownNames
from exporter.limits.evaluate import Evaluator
from exporter.limits.model import PROVIDER, SHARE, Limit, LimitWindow, Thresholds, Unit
from exporter.limits.pools import Member, member_of, pool_of
from exporter.limits.strategies import Strategy
from exporter.settings.proxies import Aliases

_ROUNDS = 7
_HOUR_MS = 3_600_000
_LIMITS = 50
_ACCOUNTS = 1000
_PLAIN = (
    "select sum(counted), sum(uncached + cache_read + cache_write + output + unclassified), sum(nano_usd)"
    " from entry where ts_ms >= ?"
)
_BUDGETS = ((Unit.REQUESTS, 10**9), (Unit.TOKENS, 10**15), (Unit.USD, 10**18))


def add_windows(section: Section, program: Program, directory: Path) -> None:
    """Measure the windows over the ledger of ``program`` in ``directory``, and check them against plain sums."""
    shown_names = ShownNames(program.ledger.name_store, Aliases(), program.pseudonym)
    connection = sqlite3.connect(directory / FILE_NAME)
    now_ms = connection.execute("select max(ts_ms) from entry").fetchone()[0] + 1

    def plain_sum(start_ms: int) -> tuple[int, int, int]:
        requests, tokens, nano_usd = connection.execute(_PLAIN, (start_ms,)).fetchone()
        return requests, tokens, nano_usd

    for hours, limits, most in ((5, _LIMITS, 1 / 5), (7 * 24, 1, 1 / 10)):
        plain_ms, plain = _best(partial(plain_sum, now_ms - hours * _HOUR_MS))
        ours_ms, used = _best(_evaluation(program, shown_names, hours=hours, limits=limits, now_ms=now_ms))
        if used != plain:
            raise AssertionError(f"{hours} h: {used} instead of {plain}")
        what = f"{limits} rolling limits of {hours} h" if limits > 1 else "one rolling limit of 7 days"
        what = f"{what}, {ours_ms:.2f} ms ÷ one plain sum, {plain_ms:.1f} ms"
        section.add(what, ours_ms / plain_ms, "{:.3f}", at_most=most)
    connection.close()
    pool_seconds = min(cpu_seconds(partial(pool_of, _pool(now_ms), now_ms=now_ms)) for _ in range(_ROUNDS))
    section.add(f"a pool of {_ACCOUNTS:,} accounts, ms", pool_seconds * 1e3, "{:.1f}", at_most=50)


def _pool(now_ms: int) -> list[Member]:
    """Accounts whose windows all began at different times, so that each has its own reset."""
    return [member_of(up=True, windows=[_window(0.2 + number / 211, now_ms)]) for number in range(_ACCOUNTS)]


def _window(hours_gone: float, now_ms: int) -> LimitWindow:
    start_ms = now_ms - round(hours_gone * _HOUR_MS)
    return LimitWindow(
        proxy="p",
        limit="5h",
        kind=PROVIDER,
        provider="claude",
        credential="alice",
        scope="",
        window="5h",
        unit=SHARE,
        used_ratio=0.18 * hours_gone,
        thresholds=Thresholds(),
        observed_ms=now_ms,
        start_ms=start_ms,
        reset_ms=start_ms + 5 * _HOUR_MS,
    )


def _evaluation(
    program: Program, shown_names: ShownNames, *, hours: int, limits: int, now_ms: int
) -> Callable[[], tuple[int, int, int]]:
    """Evaluate all limits once; return the use of the first one, which matches everything."""
    evaluator = Evaluator(program.ledger.name_store, shown_names)
    models = sorted({route.model for route in program.ledger.name_store.routes.values()})
    all_limits = tuple(
        Limit(
            id=f"limit-{number}",
            name=f"limit {number}",
            strategy=Strategy.ROLLING,
            zone=UTC,
            budgets=_BUDGETS,
            window_ms=hours * _HOUR_MS,
            models=() if number == 0 else (models[number % len(models)],),
        )
        for number in range(limits)
    )

    def evaluate() -> tuple[int, int, int]:
        program.ledger.windows.touched.append(0)  # as after a booking, nothing is remembered
        with program.ledger.windows.look() as look:
            windows, _ = evaluator.evaluate(all_limits, look, {}, now_ms=now_ms)
        requests, tokens, usd = (window for window in windows[:3])
        return round(requests.used or 0), round(tokens.used or 0), round((usd.used or 0) * 1e9)

    return evaluate


def _best(measured: Callable[[], tuple[int, int, int]]) -> tuple[float, tuple[int, int, int]]:
    """CPU milliseconds of the fastest of some rounds, and the result."""
    best, result = float("inf"), (0, 0, 0)
    for _ in range(_ROUNDS):
        started = time.process_time()
        result = measured()
        best = min(best, time.process_time() - started)
    return best * 1000, result
