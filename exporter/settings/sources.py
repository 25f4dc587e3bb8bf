"""Where the raw values of settings come from: the environment, the file ``.env`` and the YAML file.

The environment belongs to many programs, so names of others are left alone. An unknown name that looks like ours gets a
warning, because a misspelt setting would otherwise be ignored silently. An empty value counts as not set: that is how
Compose and many ``.env`` files pass a setting that was left out.
"""

import io
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from dotenv.parser import parse_stream
from pydantic import ValidationError

from exporter.settings import yaml_file
from exporter.settings.model import Settings, declared
from exporter.settings.problems import Problem, ProblemsError, did_you_mean, read_text
from exporter.settings.proxies import Aliases, ConfigFile
from exporter.settings.validators import RawValue
from exporter.settings.yaml_rows import problems_of, unknown_setting

ENVIRONMENT = "environment"
DOTENV = ".env"

_OURS = re.compile(r"(CLIPROXY_|EXPORTER_|COLLECTOR_|SUPABASE_|TIMEZONE|LOG_)")
_INJECTED_NAME = re.compile(r".+_(PORT_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?|SERVICE_HOST|SERVICE_PORT(_.+)?)")
_INJECTED_VALUE = re.compile(r"(tcp|udp|sctp)://")
_EARLIER_NAMES = frozenset(
    {"SUPABASE_PUBLISHABLE_KEY", "SUPABASE_KEY", "SUPABASE_SERVICE_KEY", "OAUTH_SYNC_INTERVAL_SECONDS"},
)
_EARLIER_FRONT_END = "VITE_"
_ROWS = ("proxies", "aliases")


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

    @contextmanager
    def collecting(self) -> Iterator[None]:
        """Add the problems that are raised in this context, and go on after it."""
        try:
            yield
        except ProblemsError as error:
            self.problems += error.problems

    def blames(self, given: RawValue) -> bool:
        """Whether one of the problems is with this value."""
        return any((problem.setting, problem.place) == (given.name, given.place) for problem in self.problems)


def read_environment(environ: Mapping[str, str], loaded: Loaded, *, cwd: Path) -> dict[str, RawValue]:
    """The settings in ``environ``. Values that Kubernetes put there are left out, with a warning where that matters."""
    values: list[RawValue] = []
    for name, text in environ.items():
        value = RawValue(name=name, text=text.strip(), place=ENVIRONMENT, base=cwd)
        if _INJECTED_VALUE.match(text) and name.endswith("_PORT"):
            if name in _known_names():
                service = name.removesuffix("_PORT").lower().replace("_", "-")
                why = f"Kubernetes injects this value because there is a Service named {service}; it is ignored."
                fix = "Set enableServiceLinks: false in the pod's spec, or rename the Service."
                loaded.warnings.append(value.problem(why, fix))
        elif not _INJECTED_NAME.fullmatch(name):
            values.append(value)
    return _settings_in(values, loaded)


def read_dotenv(cwd: Path, loaded: Loaded) -> dict[str, RawValue]:
    """The settings in the file ``.env`` of the directory ``cwd``. Values are literal: ``${NAME}`` is not replaced."""
    path = cwd / DOTENV
    # A directory of that name is a Python environment, or what Docker makes of a mount without a source.
    if not os.path.isfile(path):
        return {}
    text = ""
    with loaded.collecting():
        text = read_text(path, setting=DOTENV, place=str(path))
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


def read_config(path: Path, loaded: Loaded) -> ConfigFile:
    """The YAML file ``path``: the settings of the environment in lower case, the proxies, and the aliases."""
    read, tree = ConfigFile(path=path), yaml_file.Mapping()
    with loaded.collecting():
        tree = yaml_file.read_yaml(path, setting="EXPORTER_CONFIG")
    settings = {name.lower(): setting for setting in declared() for name in setting.names}
    for name, node in tree.items():
        setting = settings.get(name)
        if setting is not None and setting.in_yaml:
            with loaded.collecting():
                value = read.raw_value(name, node, is_list=setting.is_list)
                if value.text:
                    read.given[name.upper()] = value
        elif name not in _ROWS:
            label, why, fix = unknown_setting(name, (*settings, *_ROWS))
            if setting is not None:
                label, why, fix = name, "It cannot be set in this file.", f"Set {name.upper()} in the environment."
            loaded.problems.append(Problem(setting=label, place=read.place(node), why=why, fix=fix))
    try:
        rows = {name: tree[name] for name in _ROWS if name in tree}
        read.aliases = Settings.model_validate(rows, context=read).aliases
    except ValidationError as error:
        loaded.problems += problems_of(error, tree, Settings, file=path.name)
    return read


def read_aliases(path: Path) -> Aliases:
    """The aliases in a file of settings. Raises ProblemsError with all that is wrong with the file."""
    loaded = Loaded()
    read = read_config(path, loaded)
    if loaded.problems:
        raise ProblemsError(*loaded.problems)
    return read.aliases
