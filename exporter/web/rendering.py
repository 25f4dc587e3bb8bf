"""Turns a page into an answer: everything inline, and a policy that forbids the rest.

Text in code and templates is English. A page is in the language that the setting names, or with ``auto`` in the
browser's first choice among ours. Other languages have a catalogue in ``catalogues/``, which is read when somebody
first asks for it.
"""

import base64
import contextlib
import gettext
import hashlib
from functools import cache
from pathlib import Path
from typing import Any

from flask import Flask, Response, current_app, g, make_response, render_template, request
from jinja2 import FileSystemBytecodeCache
from jinja2.bccache import Bucket

from exporter import __version__
from exporter.formats import change, count, cut, exact_usd, share, short, usd
from exporter.records import Billing
from exporter.sentences import Sentence, say

SPENT = {
    Billing.METERED: say("Spent"),
    Billing.SUBSCRIPTION: say("Subscription value"),
    Billing.UNKNOWN: say("Unknown billing"),
}
BRIEF = {
    Billing.METERED: say("Spent"),
    Billing.SUBSCRIPTION: say("Value"),
    Billing.UNKNOWN: say("Unknown"),
}
NOUNS = {
    "model": say("model"),
    "client": say("client"),
    "credential": say("account"),
    "provider": say("provider"),
    "proxy": say("proxy"),
    "hour": say("hour"),
    "day": say("day"),
    "week": say("week"),
    "month": say("month"),
}
"""What usage can be summed by, as a person reads it."""

LANGUAGES = {"en": "en", "zh": "zh-Hans"}
"""Languages by the first part of their tag, with the full tag of the text."""
_CATALOGUES = Path(__file__).with_name("catalogues")
AUTO = "auto"

_COMPILED = Path(__file__).with_name("__pycache__")


class _Compiled(FileSystemBytecodeCache):
    """Compiled templates beside Python's own compiled files, until a template or the exporter's version changes.

    Compiling takes 100 ms and leaves 2 MiB behind; reading compiled files takes 2 ms and a quarter of a MiB. After you
    change options of Jinja, delete the files.
    """

    def dump_bytecode(self, bucket: Bucket) -> None:
        with contextlib.suppress(OSError):  # a system's folder, which only its administrator may write, or a full disk
            super().dump_bytecode(bucket)


def compile_templates() -> None:
    """Compile all templates now, as pip compiles modules: the user who runs the program may be unable to store them."""
    _COMPILED.mkdir(exist_ok=True)
    app = Flask("exporter.web.site")
    add_filters(app)
    for name in app.jinja_env.list_templates():
        app.jinja_env.get_template(name)
    for file in _COMPILED.glob("*.cache"):
        file.chmod(0o644)  # Jinja lets only their owner read them


def add_filters(app: Flask, *, language: str = AUTO) -> None:
    """Give the templates of ``app`` their filters and the ``language``; ``auto`` means the browser's."""
    environment = app.jinja_env
    environment.trim_blocks = environment.lstrip_blocks = True
    environment.bytecode_cache = _Compiled(str(_COMPILED), f"%s-{__version__}.cache")
    environment.filters |= {each.__name__: each for each in (change, count, cut, exact_usd, said, share, short, usd)}
    app.config["LANGUAGE"] = language
    environment.policies["ext.i18n.trimmed"] = True
    environment.add_extension("jinja2.ext.i18n")
    environment.install_gettext_callables(  # type: ignore[attr-defined]
        lambda message: _catalogue().gettext(message),
        lambda one, many, number: _catalogue().ngettext(one, many, number),
        newstyle=True,
    )
    environment.finalize = said
    environment.globals["language"] = lambda: LANGUAGES[_language()]


def page(template: str, *, script: str = "", **context: Any) -> Response:
    """A page, within a request of an application prepared by ``add_filters``."""
    style = render_template("page.css")
    text = render_template(
        template, style=style, script=script, version=__version__, spent=SPENT, brief=BRIEF, nouns=NOUNS, **context
    )
    answer = make_response(text)
    # Hashes, not a nonce: the script parses a fresh page under the policy of its own page.
    scripts = f"script-src {_source(script)}; connect-src 'self'; " if script else ""
    answer.headers["Content-Security-Policy"] = (
        f"default-src 'none'; style-src {_source(style)}; {scripts}base-uri 'none'; form-action 'self';"
        " frame-ancestors 'none'"
    )
    answer.headers["Cache-Control"] = "no-store"
    answer.headers["Vary"] = "Accept-Language"
    answer.headers["X-Content-Type-Options"] = "nosniff"
    answer.headers["Referrer-Policy"] = "no-referrer"
    return answer


def _source(inline: str) -> str:
    """The name of an inline element in a policy."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(inline.encode()).digest()).decode()}'"


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
