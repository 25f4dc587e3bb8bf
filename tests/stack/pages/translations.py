"""``make languages``: puts the pages' present texts into ``exporter/web/catalogues/``, and compiles the translations.

A new or changed sentence has no translation then, and a test names it.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

from babel.messages.catalog import Catalog
from babel.messages.mofile import read_mo, write_mo
from babel.messages.pofile import read_po, write_po
from flask import Flask

from exporter import errors
from exporter.history.state import STATES as HISTORY_STATES
from exporter.sources.proxy_status import STATES
from exporter.web.rendering import add_filters

ROOT = Path(__file__).resolve().parents[3]
_PACKAGE = ROOT / "exporter"
_TEMPLATES = _PACKAGE / "web" / "templates"
_CATALOGUES = _PACKAGE / "web" / "catalogues"
LANGUAGES = sorted(path.stem for path in _CATALOGUES.glob("*.po"))

_KINDS = (errors.ProxyError, errors.LedgerError, errors.HistoryError, errors.PriceFeedError)
_PATTERNS = {
    **{"say": 1, "pattern": 1, "counted": 2, "QuestionError": 1},
    **{name: 1 for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, _KINDS)},
}
"""Functions of ``exporter.sentences`` and errors that pages show, each with the number of its patterns."""
_PAIRS = {"wrong": 0, "read_by": 1}
"""Functions that take what is wrong and what to do, each with the position of the first of the two."""
_AT_THE_START = {_PACKAGE / "settings" / "kinds.py", _PACKAGE / "web" / "config_file.py"}
"""Modules where these functions only end the start, so that no page shows their text."""


def said_today() -> Catalog:
    """Every message in code and templates."""
    catalogue = Catalog()
    for message, path in (*_of_code(), *_of_templates()):
        catalogue.add(message, locations=[(str(path.relative_to(ROOT)), 0)])
    for states, place in ((STATES, "sources/proxy_status.py"), (HISTORY_STATES, "history/state.py")):
        for state in states:
            catalogue.add(state.replace("_", " "), locations=[(f"exporter/{place}", 0)])
    return catalogue


def read(language: str) -> Catalog:
    """The catalogue of a language as the translator left it."""
    with (_CATALOGUES / f"{language}.po").open("rb") as file:
        return read_po(file, locale=language)


def read_compiled(language: str) -> Catalog:
    """The compiled catalogue, as the program reads it."""
    with (_CATALOGUES / f"{language}.mo").open("rb") as file:
        return read_mo(file)


def write_all() -> None:
    """Bring all catalogues up to date."""
    for language in LANGUAGES:
        catalogue = read(language)
        catalogue.update(said_today(), no_fuzzy_matching=True, update_creation_date=False)
        catalogue.obsolete.clear()
        with (_CATALOGUES / f"{language}.po").open("wb") as file:
            write_po(file, catalogue, width=120, sort_by_file=True, include_lineno=False)
        with (_CATALOGUES / f"{language}.mo").open("wb") as file:
            write_mo(file, catalogue)


_Message = str | tuple[str, ...]


def _of_code() -> Iterator[tuple[_Message, Path]]:
    for path in sorted(set(_PACKAGE.rglob("*.py")) - set(_PACKAGE.glob("commands/*"))):
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id in _PATTERNS:
                given = call.args[: _PATTERNS[call.func.id]]
                patterns = tuple(str(each.value) for each in given if isinstance(each, ast.Constant))
                if patterns:
                    yield patterns if len(patterns) > 1 else patterns[0], path
            elif isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id in _PAIRS:
                first = _PAIRS[call.func.id]
                given = [] if path in _AT_THE_START else call.args[first : first + 2]
                yield from ((str(each.value), path) for each in given if isinstance(each, ast.Constant))


def _of_templates() -> Iterator[tuple[_Message, Path]]:
    app = Flask("exporter.web.site")
    add_filters(app)
    for path in sorted(_TEMPLATES.glob("*.html")):
        for _, function, message in app.jinja_env.extract_translations(path.read_text(encoding="utf-8")):  # type: ignore[attr-defined]
            parts = tuple(part for part in (message if isinstance(message, tuple) else (message,)) if part)
            if parts:
                yield (parts if function == "ngettext" else parts[0]), path


if __name__ == "__main__":
    write_all()
