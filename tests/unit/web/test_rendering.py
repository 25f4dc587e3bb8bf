"""What a browser may do with the pages."""

from pathlib import Path

import jinja2
import pytest
from flask import Flask

from exporter.web import rendering
from exporter.web.rendering import add_filters, compile_templates, page


@pytest.fixture
def app() -> Flask:
    app = Flask("exporter.web.site")
    add_filters(app)
    return app


def _policy(app: Flask, script: str) -> str:
    with app.test_request_context():
        answer = page("refused.html", script=script, path="/usage", sentence="No <b>way</b>.")
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


def test_compiled_templates_are_not_compiled_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def compiles(*_: object) -> None:
        raise AssertionError("a template is compiled again")

    monkeypatch.setattr(rendering, "_COMPILED", tmp_path / "compiled")
    compile_templates()
    assert {file.stat().st_mode & 0o777 for file in (tmp_path / "compiled").iterdir()} == {0o644}, (
        "other users read them"
    )
    monkeypatch.setattr(jinja2.Environment, "compile", compiles)
    later = Flask("exporter.web.site")
    add_filters(later)

    _policy(later, "")


def test_pages_work_where_nothing_compiled_can_be_stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rendering, "_COMPILED", tmp_path / "missing")
    app = Flask("exporter.web.site")
    add_filters(app)

    _policy(app, "")
