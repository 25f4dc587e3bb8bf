"""In which language a page speaks: the one that a setting names, or the first of the browser's that there is.

English is the text in code and templates. For another language there is a catalogue in ``catalogues/``, which is read
when somebody first asks for it.
"""

import gettext
from functools import cache
from pathlib import Path
from typing import Any

from flask import Flask, current_app, g, request

from exporter.sentences import Sentence

LANGUAGES = {"en": "en", "zh": "zh-Hans"}
"""Each language, by the first part of its tag, with the tag of what is written."""

_CATALOGUES = Path(__file__).with_name("catalogues")
AUTO = "auto"


def add_languages(app: Flask, language: str) -> None:
    """Let the pages of ``app`` speak ``language``, or with ``auto`` that of whoever asks."""
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
    """A Sentence in the language of the page; anything else as it is."""
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
