"""Raw values of settings, and how they are read from the environment and from the file ``.env``.

The environment belongs to many programs, so names of others are left alone. An unknown name that looks like ours gets a
warning, because a misspelt setting would otherwise be ignored silently. An empty value counts as not set: that is how
Compose and many ``.env`` files pass a setting that was left out.
"""

import io
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from dotenv.parser import parse_stream

from exporter.settings.model import Settings, declared
from exporter.settings.problems import Problem, ProblemsError, did_you_mean, read_text

ENVIRONMENT = "environment"
DOTENV = ".env"

_OURS = re.compile(r"(CLIPROXY_|EXPORTER_|COLLECTOR_|SUPABASE_|TIMEZONE|LOG_)")
_INJECTED_NAME = re.compile(r".+_(PORT_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?|SERVICE_HOST|SERVICE_PORT(_.+)?)")
_INJECTED_VALUE = re.compile(r"(tcp|udp|sctp)://")
_EARLIER_NAMES = frozenset(
    {"SUPABASE_PUBLISHABLE_KEY", "SUPABASE_KEY", "SUPABASE_SERVICE_KEY", "OAUTH_SYNC_INTERVAL_SECONDS"},
)
_EARLIER_FRONT_END = "VITE_"


@dataclass(frozen=True, kw_only=True)
class RawValue:
    """The text of a setting before it is checked. ``name`` is the one that was used: an older one, or ``<NAME>_FILE``.

    Paths in it are relative to ``base``. The text may be a secret, so it is not part of this object's own text.
    """

    name: str
    text: str = field(repr=False)
    place: str
    base: Path

    def problem(self, why: str, fix: str = "") -> Problem:
        """A problem with what was given here."""
        return Problem(setting=self.name, place=self.place, why=why, fix=fix)


def secret_in_file(file: RawValue, *, plain: RawValue | None) -> RawValue:
    """The secret in the file that is named, which must not be given in plain text too. Raises ProblemsError.

    Line breaks at the end of the file do not belong to it.
    """
    if plain is not None:
        raise ProblemsError(file.problem(f"{plain.name} ({plain.place}) is set too.", "Set only one of the two."))
    text = read_text(file.base / file.text, setting=file.name, place=file.place).rstrip("\r\n")
    if not text.strip():
        raise ProblemsError(file.problem("The file is empty.", "Put the secret into it."))
    return replace(file, text=text)


@dataclass(kw_only=True)
class Loaded:
    """The outcome of loading. ``settings`` is None if there are problems.

    ``sources`` says where each setting's value came from, by its name in the environment. Besides what is wrong
    (``problems``) there is what deserves a look (``warnings``), and what was ignored on purpose (``notes``).
    """

    settings: Settings | None = None
    sources: dict[str, str] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)
    notes: list[Problem] = field(default_factory=list)

    def require(self) -> Settings:
        """The settings. Raises ProblemsError if there are any problems."""
        if self.settings is None:
            raise ProblemsError(*self.problems)
        return self.settings

    def blames(self, given: RawValue) -> bool:
        """Whether one of the problems is with this value."""
        return any((problem.setting, problem.place) == (given.name, given.place) for problem in self.problems)


def read_environment(environ: Mapping[str, str], loaded: Loaded, *, cwd: Path) -> dict[str, RawValue]:
    """The settings in ``environ``. Values that Kubernetes put there are left out, with a warning where that matters."""
    known = _known_names()
    values: dict[str, RawValue] = {}
    for name, text in environ.items():
        injected = bool(_INJECTED_VALUE.match(text)) and name.endswith("_PORT")
        if injected and name in known:
            loaded.warnings.append(_injected(name))
        if not injected and not _INJECTED_NAME.fullmatch(name):
            values[name] = RawValue(name=name, text=text.strip(), place=ENVIRONMENT, base=cwd)
    return _settings_in(values.values(), loaded)


def read_dotenv(cwd: Path, loaded: Loaded) -> dict[str, RawValue]:
    """The settings in the file ``.env`` of the directory ``cwd``. Values are literal: ``${NAME}`` is not replaced."""
    path = cwd / DOTENV
    # A directory of that name is a Python environment, or what Docker makes of a mount without a source.
    if not os.path.isfile(path):
        return {}
    try:
        text = read_text(path, setting=DOTENV, place=str(path))
    except ProblemsError as error:
        loaded.problems += error.problems
        return {}
    values: dict[str, RawValue] = {}
    for binding in parse_stream(io.StringIO(text)):
        original = binding.original.string
        blank = original[: len(original) - len(original.lstrip())]
        place = f"{DOTENV}:{binding.original.line + blank.count(chr(10))}"
        if binding.error:
            why = "The line is not NAME=value and was skipped."
            fix = "Correct it; a value with quotes needs a closing quote."
            loaded.warnings.append(Problem(setting=DOTENV, place=place, why=why, fix=fix))
        elif binding.key and binding.value is not None:
            values[binding.key] = RawValue(name=binding.key, text=binding.value.strip(), place=place, base=cwd)
    return _settings_in(values.values(), loaded)


def _known_names() -> frozenset[str]:
    return frozenset(name for setting in declared() for name in setting.names)


def _settings_in(values: Iterable[RawValue], loaded: Loaded) -> dict[str, RawValue]:
    """The values that are settings and not empty, by name."""
    found: dict[str, RawValue] = {}
    known = _known_names()
    for given in values:
        name = given.name
        if name in known:
            if given.text:
                found[name] = given
        elif name in _EARLIER_NAMES or name.startswith(_EARLIER_FRONT_END):
            why = "It is a setting of the predecessor and is ignored."
            loaded.notes.append(given.problem(why))
        elif _OURS.match(name):
            fix = did_you_mean(name, known) or "If it belongs to another program, ignore this."
            loaded.warnings.append(given.problem("It is not a setting of this version and is ignored.", fix))
    return found


def _injected(name: str) -> Problem:
    service = name.removesuffix("_PORT").lower().replace("_", "-")
    return Problem(
        setting=name,
        place=ENVIRONMENT,
        why=f"Kubernetes injects this value because there is a Service named {service}; it is ignored.",
        fix="Set enableServiceLinks: false in the pod's spec, or rename the Service.",
    )
