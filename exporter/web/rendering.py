"""How a page becomes an answer: style and script inline, nothing from elsewhere, and a policy that forbids the rest."""

import base64
import contextlib
import hashlib
from pathlib import Path
from typing import Any

from flask import Flask, Response, make_response, render_template
from jinja2 import FileSystemBytecodeCache
from jinja2.bccache import Bucket

from exporter import __version__, formats
from exporter.records import Billing
from exporter.sentences import say
from exporter.web.languages import AUTO, add_languages

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
    "credential": say("credential"),
    "provider": say("provider"),
    "proxy": say("proxy"),
    "hour": say("hour"),
    "day": say("day"),
    "week": say("week"),
    "month": say("month"),
}
"""What usage can be summed by, as a person reads it."""

_COMPILED = Path(__file__).with_name("__pycache__")


class _Compiled(FileSystemBytecodeCache):
    """Compiled templates beside Python's own compiled files, until a template or the exporter's version changes.

    Compiling takes 100 ms and leaves 2 MiB behind, reading what was compiled 2 ms and a quarter of a MiB. Whoever
    changes options of Jinja while developing deletes the files.
    """

    def dump_bytecode(self, bucket: Bucket) -> None:
        with contextlib.suppress(OSError):  # a system's folder, which only its administrator may write, or a full disk
            super().dump_bytecode(bucket)


def compile_templates() -> None:
    """Compile all templates now, as pip compiles modules: whoever runs the program may be unable to keep them."""
    _COMPILED.mkdir(exist_ok=True)
    app = Flask("exporter.web.site")
    add_filters(app)
    for name in app.jinja_env.list_templates():
        app.jinja_env.get_template(name)
    for file in _COMPILED.glob("*.cache"):
        file.chmod(0o644)  # Jinja lets only their owner read them


def add_filters(app: Flask, *, language: str = AUTO) -> None:
    """Give the templates of ``app`` filters for numbers, and ``language``: see ``add_languages``."""
    add_languages(app, language)
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True
    app.jinja_env.bytecode_cache = _Compiled(str(_COMPILED), f"%s-{__version__}.cache")
    for filter_ in (
        formats.usd,
        formats.exact_usd,
        formats.count,
        formats.short,
        formats.share,
        formats.change,
        formats.cut,
    ):
        app.jinja_env.filters[filter_.__name__] = filter_
    app.jinja_env.filters["full"] = formats.full


def page(template: str, *, script: str = "", status: int = 200, **context: Any) -> Response:
    """A page, within a request of an application prepared by ``add_filters``."""
    style = render_template("page.css")
    text = render_template(
        template, style=style, script=script, version=__version__, spent=SPENT, brief=BRIEF, nouns=NOUNS, **context
    )
    answer = make_response(text, status)
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
