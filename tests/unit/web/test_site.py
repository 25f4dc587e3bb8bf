"""The paths: the answer of each, and its form."""

import re
import time
from datetime import datetime
from urllib.parse import urljoin

import pytest
from werkzeug.test import create_environ, run_wsgi_app

from exporter.sources.proxy_status import ProxyStatus
from tests.benches.web import WebBench
from tests.unit.web.test_status_page import Outline


@pytest.mark.parametrize(("path", "sentence"), [("/-/healthy", "is running"), ("/-/ready", "is ready")])
def test_health_is_a_sentence(web: WebBench, path: str, sentence: str) -> None:
    web.statuses = [ProxyStatus(name="p", state="unreachable")]  # this is no reason to take the exporter away
    answer = web.client().get(path)
    assert (answer.status_code, answer.mimetype) == (200, "text/plain")
    assert sentence in answer.text


def test_the_predecessors_health_path_answers_as_it_did(web: WebBench) -> None:
    answer = web.client().get("/api/collector/health")
    assert answer.status_code == 200
    assert answer.json is not None
    assert answer.json["status"] == "healthy"
    assert datetime.fromisoformat(answer.json["timestamp"]).timestamp() == 1_795_000_000


def test_a_trigger_is_accepted_at_once(web: WebBench) -> None:
    answer = web.client().post("/api/collector/trigger")
    assert (answer.status_code, answer.mimetype) == (202, "application/json")
    assert web.triggered.is_set()


def test_a_reload_says_whether_the_files_are_in_use(web: WebBench) -> None:
    answer = web.client().post("/-/reload")
    assert (answer.status_code, answer.mimetype) == (200, "text/plain")
    assert answer.text == "The files of aliases, limits and prices were read again and are in use.\n"
    web.reload_problems = ["One is not used.", "Nor is another."]
    answer = web.client().post("/-/reload")
    assert (answer.status_code, answer.text) == (500, "One is not used.\nNor is another.\n")


def test_a_reload_is_for_visitors_who_may_post(web: WebBench) -> None:
    def post(token: str | None = None, **headers: str) -> int:
        return web.client(token=token).post("/-/reload", headers=headers).status_code

    elsewhere = web.client().post("/-/reload", environ_overrides={"REMOTE_ADDR": "192.0.2.7"})
    assert elsewhere.status_code == 403
    assert post(Origin="https://evil.example") == 403
    assert (post("secret-token"), post("secret-token", Authorization="Bearer secret-token")) == (401, 200)


def test_prometheus_discovers_the_requested_address_and_the_proxies(web: WebBench) -> None:
    answer = web.client(allowed_hosts=("cpa.example.com",)).get("/sd", headers={"Host": "cpa.example.com:9317"})
    assert (answer.status_code, answer.content_type) == (200, "application/json")
    assert answer.json == [
        {"targets": ["cpa.example.com:9317"], "labels": {"__meta_cliproxy_proxies": ",home,office,"}}
    ]


def test_discovery_is_for_visitors_who_may_read(web: WebBench) -> None:
    client = web.client(token="secret-token")
    assert client.get("/sd").status_code == 401
    assert client.get("/sd", headers={"Authorization": "Bearer secret-token"}).status_code == 200


@pytest.mark.parametrize("config_id", ["42", "0", "-1", "none", "%3Cscript%3E", "x" * 5000])
def test_the_reset_of_an_unknown_limit_is_a_404_in_json(web: WebBench, config_id: str) -> None:
    answer = web.client().post(f"/api/collector/reset/{config_id}")
    assert (answer.status_code, answer.mimetype) == (404, "application/json")
    assert answer.json is not None
    assert "not found" in answer.json["error"]
    assert len(answer.text) < 300


@pytest.mark.parametrize(
    ("method", "path", "status", "text"),
    [
        ("GET", "/no-such-page", 404, "Not Found.\n"),
        ("GET", "/metrics/", 404, "Not Found.\n"),
        ("GET", "/static/index.html", 404, "Not Found.\n"),
        ("POST", "/metrics", 405, "Method Not Allowed.\n"),
        ("DELETE", "/metrics", 405, "Method Not Allowed.\n"),
        ("PUT", "/", 405, "Method Not Allowed.\n"),
        ("GET", "/api/collector/trigger", 405, "Method Not Allowed.\n"),
        ("GET", "/-/reload", 405, "Method Not Allowed.\n"),
        ("GET", "/api/collector/reset/1", 405, "Method Not Allowed.\n"),
        ("POST", "/api/collector/reset/", 404, "Not Found.\n"),
    ],
)
def test_a_wrong_path_or_method_is_reported_as_text(
    web: WebBench, method: str, path: str, status: int, text: str
) -> None:
    answer = web.client().open(path, method=method)
    assert (answer.status_code, answer.mimetype, answer.text) == (status, "text/plain", text)
    assert ("Allow" in answer.headers) == (status == 405)


def test_an_error_of_ours_is_a_500_without_details(web: WebBench) -> None:
    web.statuses = [None]  # type: ignore[list-item] # this must never happen
    answer = web.client().get("/")
    assert (answer.status_code, answer.text) == (500, "Internal Server Error.\n")


@pytest.mark.parametrize("query", ["?collect[]=x", "?", "?a=%ff"])
def test_an_unknown_query_changes_nothing(web: WebBench, query: str) -> None:
    web.statuses = [ProxyStatus(name="p", state="ok")]
    client = web.client()
    assert client.get(f"/metrics{query}").data == client.get("/metrics").data


@pytest.mark.parametrize("accept", ["*/*", "application/openmetrics-text;version=1.0.0"])
def test_single_metrics_can_be_requested_by_name(web: WebBench, accept: str) -> None:
    web.statuses = [ProxyStatus(name="p", state="ok")]
    client, headers = web.client(), {"Accept": accept}
    whole = client.get("/metrics", headers=headers).text

    asked = client.get(
        "/metrics?name[]=cliproxy_up&name[]=cliproxy_exporter_build_info&name[]=none", headers=headers
    ).text

    assert 'cliproxy_up{proxy="p"} 1.0\n' in asked
    families = set(re.findall(r"^# TYPE (\S+)", asked, flags=re.MULTILINE))
    assert families == {"cliproxy_up", "cliproxy_exporter_build_info"}
    assert asked.endswith("# EOF\n") == whole.endswith("# EOF\n")


def test_a_request_that_names_thousands_of_metrics_is_not_searched_for_each(web: WebBench) -> None:
    web.statuses = [ProxyStatus(name=f"p{number}", state="ok") for number in range(100)]
    client, spent = web.client(), []
    for names in (1, 3000):
        query = "&".join(f"name[]=n{number}" for number in range(names))
        began = time.thread_time()
        assert client.get(f"/metrics?{query}").data == b""
        spent.append(time.thread_time() - began)
    assert spent[1] < 20 * spent[0]


def test_head_is_get_without_a_body_and_does_not_count_as_a_scrape(web: WebBench) -> None:
    accept = {"Accept": "application/openmetrics-text;version=1.0.0"}
    web.ledger.register("p")
    web.ledger.births.register([("s", 1)])
    client = web.client()
    answer = client.head("/metrics", headers=accept)
    assert (answer.status_code, answer.data) == (200, b"")
    assert int(answer.headers["Content-Length"]) > 1000
    assert web.ledger.births.ready(0) == []
    got = client.get("/metrics", headers=accept)
    assert {**got.headers} == {**answer.headers}
    assert len(got.data) == int(got.headers["Content-Length"])
    assert web.ledger.births.ready(0) == [("s", 1)]


def test_a_scraper_is_its_address_and_user_agent_whatever_its_port(web: WebBench) -> None:
    def scrape(address: str, port: str, user_agent: str) -> int:
        headers = {"Accept": "application/openmetrics-text;version=1.0.0", "User-Agent": user_agent}
        environ = {"REMOTE_ADDR": address, "REMOTE_PORT": port}
        answer = web.client().get("/metrics", headers=headers, environ_overrides=environ)
        assert answer.data
        return len(web.ledger.births.scrapers.lately())

    assert scrape("127.0.0.1", "40001", "Prometheus/3.0.0") == 1
    assert scrape("127.0.0.1", "40002", "Prometheus/3.0.0") == 1
    assert scrape("127.0.0.2", "40001", "Prometheus/3.0.0") == 2
    assert scrape("127.0.0.1", "40001", "Prometheus/2.42.0") == 3


def test_an_answer_that_broke_off_does_not_count_as_a_scrape(web: WebBench) -> None:
    web.ledger.register("p")
    web.ledger.births.register([("s", 1)])
    app = web.client().application
    environ = create_environ("/metrics", headers={"Accept": "application/openmetrics-text;version=1.0.0"})
    environ["REMOTE_ADDR"] = "127.0.0.1"
    parts, status, _ = run_wsgi_app(app, environ)
    assert status == "200 OK"
    assert next(iter(parts))  # the server got the body, and could not send it
    parts.close()  # type: ignore[attr-defined] # a server closes whatever has this method
    assert web.ledger.births.ready(0) == []


@pytest.mark.parametrize("path", ["/", "/usage", "/requests", "/usage?range=unknown"])
def test_every_page_of_a_demo_and_none_of_a_real_proxy_says_that_figures_are_invented(web: WebBench, path: str) -> None:
    banner = "<strong>Invented figures:</strong> this is the demo."
    assert banner in web.client(is_demo=True).get(path).text
    assert "nvented" not in web.client().get(path).text


@pytest.mark.parametrize("path", ["/", "/usage", "/requests", "/usage?range=unknown"])
def test_the_links_of_a_page_stay_below_the_path_that_a_reverse_proxy_removes(web: WebBench, path: str) -> None:
    base, client = "http://example.com/exporter", web.client()
    attributes = Outline(client.get(path).text).attributes
    targets = {urljoin(base + path, value) for name, value in attributes if name in ("href", "action", "src")}
    assert {f"{base}/", f"{base}/usage", f"{base}/requests", f"{base}/metrics"} <= targets
    assert {target: client.get(target.removeprefix(base)).status_code for target in targets} == dict.fromkeys(
        targets, 200
    )
