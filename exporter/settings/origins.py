"""Where settings are written: the environment, the file ``.env`` and the YAML file.

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

from exporter.sentences import say
from exporter.settings.model import Settings, declared
from exporter.settings.problems import Problem, ProblemsError, did_you_mean
from exporter.settings.yaml_values import Node, Place, Text, read_text, read_yaml

_DOTENV = ".env"

_OURS = re.compile(r"(CLIPROXY_|EXPORTER_|COLLECTOR_|SUPABASE_|TIMEZONE|LOG_)")
_INJECTED_NAME = re.compile(r".+_(PORT_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?|SERVICE_HOST|SERVICE_PORT(_.+)?)")
_INJECTED_VALUE = re.compile(r"(tcp|udp|sctp)://")
_EARLIER_NAMES = frozenset(
    {"SUPABASE_PUBLISHABLE_KEY", "SUPABASE_KEY", "SUPABASE_SERVICE_KEY", "OAUTH_SYNC_INTERVAL_SECONDS"},
)
ROWS = ("proxies", "aliases")
_KNOWN = {name: setting for setting in declared() for name in setting.names}


@dataclass(kw_only=True)
class Loaded:
    """The outcome of loading. ``settings`` is None if there are problems.

    ``origins`` says where each setting's value came from, by its name in the environment. Besides what is wrong
    (``problems``) there is what deserves a look (``warnings``), and what was ignored on purpose (``notes``).
    """

    settings: Settings | None = None
    origins: dict[str, str] = field(default_factory=dict)
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


def read_environment(
    environ: Mapping[str, str], loaded: Loaded, *, cwd: Path, origin: str = "environment"
) -> dict[str, Node]:
    """The settings in ``environ``. Values that Kubernetes put there are left out, with a warning where that matters."""
    values: list[Text] = []
    for name, text in environ.items():
        value = Text(text.strip(), Place(name, origin, cwd))
        if _INJECTED_VALUE.match(text) and name.endswith("_PORT"):
            if name in _KNOWN:
                service = name.removesuffix("_PORT").lower().replace("_", "-")
                why = f"Kubernetes injects this value because there is a Service named {service}; it is ignored."
                fix = "Set enableServiceLinks: false in the pod's spec, or rename the Service."
                loaded.warnings.append(value.at.problem(why, fix))
        elif not _INJECTED_NAME.fullmatch(name):
            values.append(value)
    return _settings_in(values, loaded)


def read_dotenv(cwd: Path, loaded: Loaded) -> dict[str, Node]:
    """The settings in the file ``.env`` of the directory ``cwd``. Values are literal: ``${NAME}`` is not replaced."""
    path = cwd / _DOTENV
    # A directory of that name is a Python environment, or what Docker makes of a mount without a source.
    if not os.path.isfile(path):
        return {}
    text = ""
    with loaded.collecting():
        text = read_text(path, Place(_DOTENV, str(path), cwd))
    values: dict[str, Text] = {}
    for binding in parse_stream(io.StringIO(text)):
        original = binding.original.string
        blank = original[: len(original) - len(original.lstrip())]
        place = Place(binding.key or _DOTENV, _DOTENV, cwd, binding.original.line + blank.count("\n"))
        if binding.error:
            why = "The line is not NAME=value and was skipped."
            fix = "Correct it; a value with quotes needs a closing quote."
            loaded.warnings.append(place.problem(why, fix))
        elif binding.key and binding.value is not None:
            values[binding.key] = Text(binding.value.strip(), place)
    return _settings_in(values.values(), loaded)


def _settings_in(values: Iterable[Text], loaded: Loaded) -> dict[str, Node]:
    """The values that are settings and not empty, by name in lower case."""
    found: dict[str, Node] = {}
    for given in values:
        name = given.at.name
        if name in _KNOWN:
            if given:
                found[name.lower()] = given
        elif name in _EARLIER_NAMES or name.startswith("VITE_"):  # of its front end
            loaded.notes.append(given.at.problem("It is a setting of the predecessor and is ignored."))
        elif _OURS.match(name):
            fix = did_you_mean(name, _KNOWN) or "If it belongs to another program, ignore this."
            loaded.warnings.append(given.at.problem("It is not a setting of this version and is ignored.", fix))
    return found


def read_config(path: Path, loaded: Loaded) -> dict[str, Node]:
    """What the YAML file ``path`` has: the settings of the environment in lower case, the proxies, and the aliases."""
    tree: dict[str, Node] = {}
    with loaded.collecting():
        tree = read_yaml(path, setting="EXPORTER_CONFIG")
    found: dict[str, Node] = {}
    for name, node in tree.items():
        setting = _KNOWN.get(name.upper())
        if setting is not None and not setting.in_yaml:
            fix = f"Set {name.upper()} in the environment."
            loaded.problems.append(node.at.problem("It cannot be set in this file.", fix))
        elif name == "proxies" and node in ("", []):
            why, fix = say("{name} is empty.", name=name), say("Add an entry, or remove the line.")
            loaded.problems.append(node.at.problem(why, fix))
        elif node != "":
            found[name] = node
    return found
