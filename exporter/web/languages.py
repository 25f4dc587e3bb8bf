"""The language of a page: the one that the setting names, or the browser's first that there is.

Text in code and templates is English. Other languages have a catalogue in ``catalogues/``, read when somebody first
asks for it.
"""

import gettext
from functools import cache
from pathlib import Path
from typing import Any

from flask import Flask, current_app, g, request

from exporter.sentences import Sentence

LANGUAGES = {"en": "en", "zh": "zh-Hans"}
"""Languages by the first part of their tag, with the full tag of the text."""

_CATALOGUES = Path(__file__).with_name("catalogues")
AUTO = "auto"


def add_languages(app: Flask, language: str) -> None:
    """Make the pages of ``app`` use ``language``, or with ``auto`` that of the browser."""
    app.config["LANGUAGE"] = language
    environment = app.jinja_env
    environment.policies["ext.i18n.trimmed"] = True
    environment.add_extension("jinja2.ext.i18n")
    environment.install_gettext_callables(  # type: ignore[attr-defined]
        lambda message: _catalogue().gettext(message),
        lambda one, many, number: _catalogue().ngettext(one, many, number),
        newstyle=True,
    )
    environment.finalize = said
    environment.filters["said"] = said
    environment.globals["language"] = lambda: LANGUAGES[_language()]


def said(text: Any) -> Any:
    """Translate a Sentence into the page's language; anything else stays as it is."""
    if not isinstance(text, Sentence) or not text:
        return text
    values = {name: said(value) for name, value in text.values.items()}
    catalogue = _catalogue()
    one, many = text.pattern, text.many
    pattern = catalogue.ngettext(one, many, text.number) if many else catalogue.gettext(one)
    return pattern.format(**values) if values else pattern


def _catalogue() -> gettext.NullTranslations:
    if "catalogue" not in g:
        g.catalogue = _read(_language())
    found: gettext.NullTranslations = g.catalogue
    return found


def _language() -> str:
    chosen: str = current_app.config["LANGUAGE"]
    if chosen != AUTO:
        return chosen
    asked = (tag.partition("-")[0].lower() for tag, quality in request.accept_languages if quality)
    return next((language for language in asked if language in LANGUAGES), "en")


@cache
def _read(language: str) -> gettext.NullTranslations:
    if language == "en":
        return gettext.NullTranslations()
    with (_CATALOGUES / f"{language}.mo").open("rb") as file:
        return gettext.GNUTranslations(file)
