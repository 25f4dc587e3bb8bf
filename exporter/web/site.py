"""The web application: metrics, health, pages, usage for programs, and the predecessor's paths."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from flask import Flask, Response, jsonify, request
from werkzeug.exceptions import Forbidden, HTTPException, Unauthorized

from exporter.errors import LedgerError
from exporter.history.predecessor.rate_limits import words_after_reset
from exporter.ledger.views.scrapers import Scrape, scraper_id
from exporter.usage.question import Questions
from exporter.usage.ranges import QuestionError
from exporter.web.access import Access
from exporter.web.rendering import AUTO, add_filters, page, said
from exporter.web.status_page import StatusPage
from exporter.web.usage_page import requests_page, usage_for_programs, usage_page

_PUBLIC = frozenset({"healthy", "ready", "collector_health"})
"""Names of the functions that need no token: health checks have nowhere to keep one."""


@dataclass(frozen=True, slots=True)
class Site:
    """What the pages need. ``scrape`` renders ``/metrics``: see ``Exposition``.

    ``trigger`` asks for a poll of all proxies now and returns at once. ``reload`` reads the user's files again now, and
    returns the problems, one sentence each. ``proxies`` are the names of those that this exporter reads.
    ``is_demo``: each page says that its figures are invented. ``language`` is that of the pages: see
    ``exporter.web.rendering``.
    """

    scrape: Callable[..., Scrape]
    page: StatusPage
    questions: Questions
    trigger: Callable[[], None]
    reload: Callable[[], list[str]]
    proxies: Sequence[str]
    access: Access
    is_demo: bool = False
    language: str = AUTO


def make_app(site: Site) -> Flask:
    app = Flask(__name__, static_folder=None)
    add_filters(app, language=site.language)
    app.jinja_env.globals["is_demo"] = site.is_demo

    @app.before_request
    def check_access() -> None:
        site.access.check(request, public=request.endpoint in _PUBLIC)

    @app.errorhandler(HTTPException)
    def failed(error: HTTPException) -> Response:
        is_denied = isinstance(error, Forbidden | Unauthorized)
        answer = _text(said(error.description) if is_denied else f"{error.name}.", error.code or 500)
        if error.code == 401:
            answer.headers["WWW-Authenticate"] = 'Basic realm="cliproxy-exporter"'
        if error.code == 405 and (allowed := getattr(error, "valid_methods", None)):
            answer.headers["Allow"] = ", ".join(sorted(allowed))
        return answer

    @app.errorhandler(QuestionError)
    @app.errorhandler(LedgerError)
    def unanswered(error: QuestionError | LedgerError) -> tuple[Response, int]:
        status = 400 if isinstance(error, QuestionError) else 503
        if request.path.startswith("/api/"):
            return jsonify(error=str(error)), status
        return page("refused.html", path=request.path, sentence=str(error)), status

    @app.get("/")
    def index() -> Response:
        return site.page.answer()

    @app.get("/usage")
    def usage() -> Response:
        return usage_page(site.questions, request.args)

    @app.get("/requests")
    def requests() -> Response:
        return requests_page(site.questions, request.args)

    @app.get("/api/usage")
    def api_usage() -> Response:
        return usage_for_programs(site.questions, request.args)

    @app.get("/metrics")
    def metrics() -> Response:
        # As in prometheus_client. A client that asks for a part has not seen the rest, so it is a separate scraper.
        names = sorted(request.args.getlist("name[]"))
        scrape = site.scrape(
            accept=request.headers.get("Accept", ""),
            accept_encoding=request.headers.get("Accept-Encoding", ""),
            scraper=scraper_id(request.remote_addr or "", "\0".join([request.headers.get("User-Agent", ""), *names])),
            names=names,
        )
        return Response(_sending(scrape), headers={**scrape.headers, "Content-Length": str(len(scrape.body))})

    @app.get("/sd")
    def discovery() -> Response:
        # Only one target: with one for each proxy, Prometheus would scrape this exporter once for each. Commas surround
        # every name, as in Prometheus' own discoveries, so that an expression matches whole names.
        names = f",{','.join(site.proxies)},"
        return jsonify([{"targets": [request.host], "labels": {"__meta_cliproxy_proxies": names}}])

    @app.get("/-/healthy")
    def healthy() -> Response:
        return _text("The exporter is running.", 200)

    @app.get("/-/ready")
    def ready() -> Response:
        # Settings and ledger are checked before this server starts; a proxy or Supabase that is away is no reason
        # to take the exporter out of service.
        return _text("The exporter is ready.", 200)

    @app.post("/-/reload")
    def reload() -> Response:
        problems = site.reload()
        if problems:
            return _text("\n".join(problems), 500)
        return _text("The files of aliases, limits and prices were read again and are in use.", 200)

    @app.get("/api/collector/health")
    def collector_health() -> Response:
        moment = datetime.fromtimestamp(site.questions.clock.now(), UTC).isoformat()
        return jsonify(status="healthy", timestamp=moment)

    @app.post("/api/collector/trigger")
    def collector_trigger() -> tuple[Response, int]:
        site.trigger()
        return jsonify(message="Full data collection process triggered."), 202

    @app.post("/api/collector/reset/<config_id>")
    def collector_reset(config_id: str) -> tuple[Response, int]:
        try:
            limit = site.page.limits.reset(config_id)
        except LedgerError as exc:
            return jsonify(error=str(exc)), 500
        if limit is None:
            return jsonify(error=f"Configuration with id {config_id[:64]} not found."), 404
        status = {"percentage": 100, "label": words_after_reset(limit)}
        return jsonify(message=f"Limit {config_id} was reset.", new_status=status), 200

    return app


def _sending(scrape: Scrape) -> Iterator[bytes]:
    yield scrape.body
    scrape.answered()  # only once the server has sent it: not if the client left early, not for HEAD


def _text(text: str, status: int) -> Response:
    return Response(text + "\n", status=status, content_type="text/plain; charset=utf-8")
