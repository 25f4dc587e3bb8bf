"""How a page becomes an answer: style and script inline, nothing from elsewhere, and a policy that forbids the rest."""

import base64
import hashlib
from typing import Any

from flask import Flask, Response, make_response, render_template

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


def add_filters(app: Flask, *, language: str = AUTO) -> None:
    """Give the templates of ``app`` filters for numbers, and ``language``: see ``add_languages``."""
    add_languages(app, language)
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True
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
