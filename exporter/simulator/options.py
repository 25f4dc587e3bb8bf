"""What the demo proxy plays, as options of the commands that start it."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

import click

_Command = TypeVar("_Command", bound=Callable[..., Any])

VERSIONS = {"6.9": "v6.9.49", "7.2": "v7.2.140", "8": "v8.0.3"}
"""What a person types, and the version of CPA that the demo proxy then plays."""
DEFAULT_VERSION = VERSIONS["7.2"]
_HISTORY_HOURS = 6.0
"""The default for a proxy with cumulative statistics, which should not look freshly started."""


def has_usage(version: str) -> bool:
    """Whether the version has the cumulative ``/usage`` instead of a queue."""
    return version == VERSIONS["6.9"]


class _NumberRange(click.FloatRange):
    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        number = float(super().convert(value, param, ctx))
        if math.isnan(number):  # which is in every range
            self.fail(f"{value!r} is not a number.", param, ctx)
        return number


def _full(_context: click.Context, _parameter: click.Parameter, text: str) -> str:
    return VERSIONS[text]


def _history(context: click.Context, _parameter: click.Parameter, hours: float | None) -> float:
    version = context.params["version"]
    if hours and not has_usage(version):
        raise click.BadParameter(f"{version} has a queue, which remembers no history.")
    return _HISTORY_HOURS * has_usage(version) if hours is None else hours


def play_options(version_flag: str) -> Callable[[_Command], _Command]:
    """The options that ``live_demo`` takes, beside its address and key."""
    versions = click.Choice(list(VERSIONS))
    option = partial(click.option, show_default=True)
    options = (
        option("--rate", type=_NumberRange(0, 1000), default=1.0, help="Requests per second, on average over a day."),
        option("--seed", type=int, help="Seed of the invented traffic: the same seed gives the same requests."),
        option(
            version_flag,
            "version",
            type=versions,
            default="7.2",
            is_eager=True,
            callback=_full,
            help="Version of CPA: 6.9 has a snapshot, 7.2 a queue, 8 a queue at other paths.",
        ),
        option(
            "--history-hours",
            type=_NumberRange(min=0),
            callback=_history,
            help="Hours that a proxy of 6.9 has already been running.  [default: 6]",
        ),
        option(
            "--upgrade-after",
            type=_NumberRange(min=0),
            metavar="SECONDS",
            help="Become another version after this many seconds.",
        ),
        option(
            "--upgrade-to",
            type=versions,
            default="7.2",
            callback=_full,
            help="The version that it becomes, newer or older.",
        ),
    )

    def decorate(command: _Command) -> _Command:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate
