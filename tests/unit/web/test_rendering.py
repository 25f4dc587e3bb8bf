"""Answers of pages: what a browser may do with them."""

import pytest
from flask import Flask

from exporter.web.rendering import add_filters, page


@pytest.fixture
def app() -> Flask:
    app = Flask("exporter.web.site")
    add_filters(app)
    return app


def _policy(app: Flask, script: str) -> str:
    with app.test_request_context():
        answer = page("refused.html", script=script, status=400, path="/usage", sentence="No <b>way</b>.")
    assert answer.status_code == 400
    assert "No &lt;b&gt;way&lt;/b&gt;." in answer.get_data(as_text=True)
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    return answer.headers["Content-Security-Policy"]


def test_a_page_without_a_script_may_run_none(app: Flask) -> None:
    policy = _policy(app, "")

    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "script-src" not in policy
    assert "connect-src" not in policy


def test_a_page_may_run_its_own_script_and_no_other(app: Flask) -> None:
    one, other = _policy(app, "one()"), _policy(app, "other()")

    assert "script-src 'sha256-" in one
    assert "unsafe" not in one
    assert one != other
