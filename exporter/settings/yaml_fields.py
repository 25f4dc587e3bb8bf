"""Fields of rows in our YAML files, each declared as: how its text is read, and what is said of one that cannot be."""

import re
from collections.abc import Callable
from datetime import date, tzinfo
from typing import Annotated, TypeVar
from zoneinfo import ZoneInfo

from pydantic import PlainValidator, ValidationInfo

from exporter.settings import validators
from exporter.settings.problems import shown, wrong
from exporter.settings.yaml_rows import text

_DATE = re.compile(r"20[0-9]{2}-[0-9]{2}-[0-9]{2}", re.ASCII)
_Value = TypeVar("_Value")


def read_by(read: Callable[[str], _Value | None], why: str, fix: str, **values: object) -> PlainValidator:
    """A validator: what ``read`` makes of the text. If that is None or a ValueError, ``why`` of it and ``fix``."""

    def check(value: object, info: ValidationInfo) -> _Value:
        written = text(value, info)
        try:
            found = read(written)
        except ValueError:
            found = None
        if found is None:
            raise wrong(why, fix, value=shown(written), **values)
        return found

    return PlainValidator(check)


def _day(written: str) -> date | None:
    return date.fromisoformat(written) if _DATE.fullmatch(written) else None


def _zone(value: object, info: ValidationInfo) -> ZoneInfo:
    return ZoneInfo(validators.zone_name(text(value, info)))


Day = Annotated[date, read_by(_day, "{value} is no day.", "Write it as 2026-11-24.")]
Zone = Annotated[tzinfo, PlainValidator(_zone)]
