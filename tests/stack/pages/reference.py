"""``make docs``: writes the tables that the code provides for the pages."""

import ast
import inspect
import re
import sys
import textwrap
from collections import defaultdict
from collections.abc import Iterable
from functools import cache
from itertools import groupby, pairwise
from operator import attrgetter
from pathlib import Path
from types import ModuleType

import exporter as package
from exporter.history import state as history
from exporter.metrics import credentials, exporter, limits, periods, prices, proxies, usage
from exporter.metrics.family import Family
from exporter.settings.model import Declared, Settings, declared
from exporter.sources.proxy_status import STATES


def families_of(*modules: ModuleType) -> tuple[Family, ...]:
    """The families that these modules declare, in order."""
    return tuple(found for module in modules for found in vars(module).values() if isinstance(found, Family))


FAMILIES = families_of(usage, periods, prices, credentials, limits, proxies, exporter)
"""All families, in the order of the page that lists them."""
_PACKAGE = Path(inspect.getfile(package)).parent
_FOR_COMPOSE = "\n# --- Only for docker-compose.yml\n"
"""The rest of ``.env.example``, below this line, is written by hand: its variables are not the exporter's."""


def _metrics_markdown(page: str) -> str:
    return _with_table(page, ("metric", "type", "labels", "meaning"), map(_row, FAMILIES))


def _row(family: Family) -> tuple[str, ...]:
    labels = ", ".join(f"`{label}`" for label in family.labels) or "-"
    return f"`{family.sample_name}`", family.kind, labels, family.help.replace("|", r"\|")


def _with_table(page: str, head: tuple[str, ...], rows: Iterable[Iterable[str]], *, below: str = "") -> str:
    """The page with these rows in the table with this head, right after the text ``below``."""
    begin = f"{below}{_line(head)}{_line('---' for _ in head)}"
    whole = begin + "".join(map(_line, rows))
    return re.sub(rf"^{re.escape(begin)}(?:\|.*\n)*", lambda _: whole, page, flags=re.MULTILINE)


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |\n"


def _states_markdown(page: str) -> str:
    proxies = [(f"`{name}`", state.meaning, state.advice) for name, state in STATES.items()]
    states = [(f"`{name}`", meaning) for name, meaning in history.STATES.items()]
    reasons = [(f"`{name}`", *words) for name, words in history.REASONS.items()]
    page = _with_table(page, ("state", "what it means", "what to do"), proxies)
    page = _with_table(page, ("state", "what it means"), states)
    return _with_table(page, ("reason", "what it is", "what to do"), reasons)


def _modules_markdown(page: str) -> str:
    rooms: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for path in sorted(_PACKAGE.rglob("*.py"), key=lambda path: (len(path.parts), path)):
        if path.name != "__init__.py":
            first, slash, rest = path.relative_to(_PACKAGE).as_posix().partition("/")
            rooms[first + slash if slash else ""].append((f"`{rest or first}`", _first_sentence(path)))
    for room, modules in rooms.items():
        page = _with_table(page, ("module", "subject"), modules, below=f"### `exporter/{room}`\n\n")
    return page


@cache
def _first_sentence(module: Path) -> str:
    text = ast.get_docstring(ast.parse(module.read_text(encoding="utf-8"))) or ""
    return " ".join(re.split(r"\.\s", text)[0].removesuffix(".").split()).replace("``", "`")


@cache
def _meanings() -> dict[str, str]:
    """The texts below the settings in the code, by the settings' names in YAML."""
    (settings,) = ast.parse(inspect.getsource(Settings)).body
    assert isinstance(settings, ast.ClassDef)
    return {
        ast.unparse(field.target): " ".join(ast.literal_eval(text.value).split())
        for field, text in pairwise(settings.body)
        if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr)
    }


def settings_markdown(page: str) -> str:
    """The page ``docs/settings.md`` with up-to-date tables, each below the heading of its section."""
    for section, settings in groupby(declared(), key=attrgetter("section")):
        head = ("Name", "Value", "Default", "Meaning")
        page = _with_table(page, head, map(_setting_row, settings), below=f"## {section}\n\n")
    return page


def _setting_row(setting: Declared) -> tuple[str, ...]:
    names = "<br>".join(f"`{name}`" for name in setting.names) + (" (older name)" if setting.also else "")
    default = f"`{setting.default}`" if setting.default else setting.unset
    meaning = _meanings()[setting.names[0].lower()]
    meaning += (" Secret." if setting.secret else "") + ("" if setting.in_yaml else " Not in the YAML file.")
    return names, setting.kind, default, meaning


def env_example(text: str) -> str:
    """The file ``.env.example`` with every setting, commented out unless the user must fill it in."""
    lines = [
        "# Copy to .env and fill in CLIPROXY_MANAGEMENT_KEY, and for Docker Compose GRAFANA_ADMIN_PASSWORD; everything",
        "# else may stay as it is. Generated from the program. docs/settings.md and docs/docker.md say more.",
    ]
    for section, settings in groupby(declared(), key=attrgetter("section")):
        lines += ["", f"# --- {section}"]
        for setting in settings:
            lines += _example(setting)
    return "\n".join([*lines, "".join(text.partition(_FOR_COMPOSE)[1:])])


def _example(setting: Declared) -> list[str]:
    return [
        *textwrap.wrap(_meanings()[setting.names[0].lower()], width=100, initial_indent="# ", subsequent_indent="# "),
        f"# {setting.kind}; default: {setting.default or f'unset ({setting.unset})'}",
        f"{'' if setting.names[0] == 'CLIPROXY_MANAGEMENT_KEY' else '#'}{setting.names[0]}={setting.default}",
    ]


PAGES = {
    "docs/metrics.md": _metrics_markdown,
    "docs/states.md": _states_markdown,
    "docs/architecture.md": _modules_markdown,
    "docs/settings.md": settings_markdown,
    ".env.example": env_example,
}


def pages(root: Path) -> dict[Path, str]:
    """File → content, below the repository's ``root``. The text between the tables is written by hand."""
    return {root / name: make((root / name).read_text(encoding="utf-8")) for name, make in PAGES.items()}


def main(arguments: list[str]) -> None:
    """Write the pages; the argument is the directory ``docs``."""
    for path, content in pages(Path(arguments[0]).resolve().parent).items():
        path.write_text(content, encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
