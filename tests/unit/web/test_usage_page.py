"""The pages about usage and requests as HTML: the answer's figures, links to further questions, and harmless names."""

import html
import random
import re
from datetime import UTC
from urllib.parse import parse_qs, urlsplit

import msgspec
import pytest
from flask.testing import FlaskClient

from exporter import formats
from exporter.ledger.database import FILE_NAME
from exporter.records import Billing, Tokens
from exporter.usage.question import BY
from exporter.usage.report import as_csv, as_json
from tests.benches.usage import UsageBench
from tests.benches.web import WebBench
from tests.fakes.guarding import TurnableClock
from tests.unit.web.test_status_page import HOSTILE, Outline

_DAY_MS = 86_400_000


@pytest.fixture
def bench(web: WebBench) -> UsageBench:
    """The ledger behind the pages, with requests of a hundred days."""
    bench = UsageBench(web.ledger, TurnableClock(), UTC)
    for proxy in ("p", "q"):
        web.ledger.register(proxy)
    draw = random.Random(1)
    now_ms = int(bench.clock.now() * 1000)
    for proxy in ("p", "q"):
        bench.book(
            *(bench.record(now_ms - draw.randrange(100 * _DAY_MS), draw) for _ in range(200)),
            bench.record(now_ms, draw),
            proxy=proxy,
        )
    return bench


@pytest.fixture
def client(web: WebBench) -> FlaskClient:
    return web.client()


def _page(client: FlaskClient, address: str, status: int = 200) -> Outline:
    answer = client.get(address)
    assert answer.status_code == status, answer.text
    assert answer.content_type == "text/html; charset=utf-8"
    page = Outline(answer.text)
    assert max(page.ids.values()) == 1, "an id twice"
    assert set(page.references) <= set(page.ids)
    assert [page.tags[tag] for tag in ("html", "main", "h1")] == [1] * 3
    return page


def _links(page: Outline) -> list[str]:
    return [value for name, value in page.attributes if name == "href"]


@pytest.mark.usefixtures("bench")
@pytest.mark.parametrize("when", ["range=24h", "range=7d", "since=2026-10-01T12:00&until=2026-10-05"])
def test_every_link_of_a_page_leads_to_an_answer(client: FlaskClient, when: str) -> None:
    answered: dict[str, int] = {}
    for by in BY:
        page = _page(client, f"/usage?by={by}&{when}&provider=claude")
        links = {link for link in _links(page) if link.startswith(("./usage?", "./requests?", "./api/usage?"))}

        assert len(links) > 12
        answered |= {link: client.get(link[1:]).status_code for link in links - answered.keys()}
        for link in links:
            asked = parse_qs(urlsplit(link).query)
            if asked and "range" not in asked and "since" not in asked and when.startswith("since"):
                pytest.fail(f"{link} forgets the range")
    assert {link: status for link, status in answered.items() if status != 200} == {}


def test_the_totals_and_rows_equal_the_answer(bench: UsageBench, client: FlaskClient) -> None:
    answer = bench.answer({"by": "client", "range": "7d"})
    text = " ".join(re.sub(r"<[^>]*>", " ", client.get("/usage?by=client&range=7d").text).split())

    for usage in (answer.usage, *(row.usage for row in answer.rows)):
        for written in (
            formats.count(usage.total.requests),
            formats.short(usage.total.tokens),
            formats.share(usage.total.cache_share),
        ):
            assert f" {written} " in text
        for billing in answer.billings:
            assert formats.usd(usage.cost(billing)) in text
    assert formats.usd(answer.expected[Billing.METERED]) in text


def test_the_kinds_of_tokens_add_up_to_all_tokens(bench: UsageBench, client: FlaskClient) -> None:
    total = bench.answer({"range": "7d"}).usage.total
    page = client.get("/usage?range=7d").text
    shown = {
        what: f'<dt>{what}</dt><dd><span title="{formats.count(tokens)}">'
        for what, tokens in (
            ("Tokens", total.tokens),
            ("Input with cache", total.input),
            ("Output", total.output),
            ("Unclassified", total.unclassified),
        )
    }

    assert total.tokens == total.input + total.output + total.unclassified
    assert [what for what, line in shown.items() if line not in page] == []
    assert "Unclassified" not in client.get("/usage?range=7d&client=nobody").text


@pytest.mark.usefixtures("bench")
def test_the_forecast_of_an_unused_name_asks_for_no_day_of_use(client: FlaskClient) -> None:
    text = client.get("/usage?client=nobody").text

    assert "By its end" in text
    assert "A forecast needs a day of use." not in text


@pytest.mark.usefixtures("bench")
def test_kinds_of_billing_are_never_added_up(bench: UsageBench, client: FlaskClient) -> None:
    usage = bench.answer({"range": "30d"}).usage
    costs = [usage.cost(billing) for billing in Billing]
    text = client.get("/usage?range=30d").text

    assert all(formats.usd(cost) in text for cost in costs)
    assert formats.usd(sum(costs)) not in text
    assert formats.usd(costs[Billing.METERED] + costs[Billing.SUBSCRIPTION]) not in text


@pytest.mark.usefixtures("bench")
def test_a_click_on_a_name_filters_by_it_and_groups_by_another(client: FlaskClient) -> None:
    page = _page(client, "/usage?by=model&range=30d&client=client-alice")
    (link,) = {link for link in _links(page) if parse_qs(urlsplit(link).query).get("model") == ["opus"]}

    assert parse_qs(urlsplit(link).query) == {
        "by": ["credential"],
        "range": ["30d"],
        "client": ["client-alice"],
        "model": ["opus"],
    }
    assert "Remove the filter by model" in client.get(link[1:]).text


@pytest.mark.usefixtures("bench")
def test_forms_keep_the_rest_of_the_question(client: FlaskClient) -> None:
    text = client.get("/usage?by=client&range=30d&model=opus&show=tokens").text
    form = re.findall(r"<form.*?</form>", text, re.DOTALL)[-1]

    hidden = dict(re.findall(r'<input type="hidden" name="(\w+)" value="(\w+)">', form))
    assert hidden == {"by": "client", "model": "opus", "show": "tokens"}
    assert client.get("/usage", query_string={**hidden, "since": "2026-10-01", "until": ""}).status_code == 200


@pytest.mark.usefixtures("bench")
@pytest.mark.parametrize("path", ["/usage", "/requests"])
def test_a_page_without_a_range_in_its_address_passes_its_own_on(client: FlaskClient, path: str) -> None:
    """The two pages have different ranges by default."""
    own = "30d" if path == "/usage" else "7d"
    other = {"/usage": "./requests", "/requests": "./usage"}[path]
    links = [urlsplit(link) for link in _links(_page(client, f"{path}?model=opus"))]

    asked = [parse_qs(link.query) for link in links if link.path == other and "model" in link.query]
    assert asked == [{"range": [own], "model": ["opus"]}]


@pytest.mark.usefixtures("bench")
def test_the_form_has_the_days_of_the_range(client: FlaskClient) -> None:
    text = client.get("/usage?range=2026-10").text

    assert re.findall(r'name="(since|until)" value="([^"]*)"', text) == [
        ("since", "2026-10-01"),
        ("until", "2026-11-01"),
    ]


@pytest.mark.usefixtures("bench")
@pytest.mark.parametrize(
    ("address", "chosen"),
    [
        ("/usage?range=24h&by=client&show=tokens", ["24 hours", "Tokens", "Client"]),
        ("/usage?range=2026-10&by=day", ["October 2026", "Spent", "Day"]),
        ("/usage?since=2026-10-01", ["Spent", "Model"]),
        ("/requests?range=30d", ["30 days"]),
    ],
)
def test_what_is_chosen_is_marked(client: FlaskClient, address: str, chosen: list[str]) -> None:
    assert re.findall(r'<a href="[^"]*" aria-current="true">([^<]*)</a>', client.get(address).text) == chosen


@pytest.mark.usefixtures("bench")
def test_another_way_to_sum_keeps_the_question_and_drops_the_order_of_the_table(client: FlaskClient) -> None:
    page = _page(client, "/usage?range=7d&by=model&client=client-alice&show=tokens&sort=requests&order=ascending")
    asked = [parse_qs(urlsplit(link).query) for link in _links(page) if link.startswith("./usage?")]

    rest = {"range": ["7d"], "client": ["client-alice"], "show": ["tokens"]}
    assert [each for each in asked if each["by"] != ["model"] and "model" not in each] == [
        {**rest, "by": [by]} for by in BY if by != "model"
    ]


def test_usage_is_summed_by_proxy_only_if_there_are_several(web: WebBench, client: FlaskClient) -> None:
    def sums_by_proxy() -> bool:
        return any("by=proxy" in link for link in _links(_page(client, "/usage")))

    web.ledger.register("p")
    assert not sums_by_proxy()
    web.ledger.register("q")
    assert sums_by_proxy()


def test_bars_can_show_the_kinds_of_cost_that_occurred(web: WebBench, client: FlaskClient) -> None:
    bench = UsageBench(web.ledger, TurnableClock(), UTC)
    web.ledger.register("p")
    record, cost = bench.record(int(bench.clock.now() * 1000))
    bench.book((msgspec.structs.replace(record, billing=Billing.SUBSCRIPTION, counted=1), cost))
    links = [parse_qs(urlsplit(link).query) for link in _links(_page(client, "/usage?range=7d"))]

    assert [asked["show"] for asked in links if "show" in asked] == [["subscription"], ["requests"], ["tokens"]]


@pytest.mark.usefixtures("bench")
def test_the_table_comes_as_csv_and_all_of_it_as_json(bench: UsageBench, client: FlaskClient) -> None:
    page = _page(client, "/usage?range=7d&by=client&model=opus&sort=name&show=tokens")
    answers = [client.get(link[1:]) for link in _links(page) if link.startswith("./api/usage?")]
    report = bench.answer({"range": "7d", "by": "client", "model": "opus"})

    assert [answer.content_type for answer in answers] == ["text/csv; charset=utf-8", "application/json"]
    assert answers[0].text == as_csv(report)
    assert answers[1].json == as_json(report)


def test_an_unknown_format_is_refused(client: FlaskClient) -> None:
    answer = client.get("/api/usage?format=xml")

    assert answer.status_code == 400
    assert "use json or csv" in answer.text


@pytest.mark.usefixtures("bench")
def test_all_months_of_the_ledger_can_be_reached(client: FlaskClient) -> None:
    text = client.get("/usage").text

    assert "range=2026-11&" in html.unescape(text) or "range=2026-11" in text
    assert re.findall(r'<option value="([\d-]+)"', text) == ["2026-09", "2026-08"]
    assert client.get("/usage?range=2026-08").status_code == 200


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("/usage?by=colour", "cannot be summed by"),
        ("/usage?range=soon", "is not a range"),
        ("/usage?show=smell", "The bars cannot show"),
        ("/usage?sort=smell", "is not a column"),
        ("/usage?sort=name&order=up", "is not an order"),
        ("/usage?colour=red", "no parameter"),
        ("/usage?by=hour&since=2020-01-01", "longer steps"),
        ("/requests?show=tokens", "no parameter"),
        ("/requests?since=<script>", "is neither a day"),
    ],
)
def test_a_question_that_makes_no_sense_is_refused_with_a_page(client: FlaskClient, address: str, words: str) -> None:
    page = _page(client, address, 400)

    assert words in page.text
    assert page.tags["script"] == 0


def test_an_unreadable_ledger_is_reported(web: WebBench) -> None:
    client = web.client()
    file = web.ledger._database.path
    file.rename(file.with_name("away"))
    file.mkdir()

    assert FILE_NAME in _page(client, "/usage", 503).text
    answer = client.get("/api/usage")
    assert answer.status_code == 503
    assert answer.json is not None
    assert FILE_NAME in answer.json["error"]


def test_without_any_use_the_pages_say_so(client: FlaskClient) -> None:
    assert "Nothing was used in this range." in _page(client, "/usage").text
    assert "No failed request is kept from this range." in _page(client, "/requests").text


def test_requests_are_the_last_failed_and_the_most_expensive_ones(bench: UsageBench, client: FlaskClient) -> None:
    since_ms = int(bench.clock.now() * 1000) - 30 * _DAY_MS
    with bench.ledger.reading() as connection:
        (dearest,) = connection.execute(
            "select max(nano_usd) from entry where ts_ms > ? and counted", (since_ms,)
        ).fetchone()
        (failed_ms,) = connection.execute("select max(ts_ms) from entry where code <> '' and counted").fetchone()
    text = client.get("/requests?range=30d").text
    failed, _, dear = text.partition('<section id="dearest"')

    assert formats.exact_usd(dearest) in dear.partition("</tr>")[2].partition("</tr>")[0]
    assert formats.second(failed_ms, UTC) in failed.partition("<tbody")[2].partition("</tr>")[0]
    assert "client-alice" not in client.get("/requests?client=client-bob").text.partition("<main>")[2].replace(
        "client-bob", ""
    )


@pytest.mark.parametrize("hostile", HOSTILE)
def test_names_from_outside_are_shown_as_text(web: WebBench, hostile: str) -> None:
    def tags(name: str) -> tuple[list[str], list[str]]:
        folder = web.ledger._database.path.parent / str(len(list(web.ledger._database.path.parent.iterdir())))
        folder.mkdir()
        other = WebBench.at(folder)
        bench = UsageBench(other.ledger, TurnableClock(), UTC)
        other.ledger.register("p")
        record, cost = bench.record(int(bench.clock.now() * 1000), random.Random(1))
        record = msgspec.structs.replace(record, model=name, client=name, provider=name, code="429", counted=1)
        bench.book((record, cost))
        client = other.client()
        texts = [
            client.get(path, query_string={"by": by, "model": name}).text
            for path, by in (("/usage", "model"), ("/usage", "provider"), ("/requests", "model"))
        ]
        other.ledger.close()
        return [tag for text in texts for tag in re.findall(r"<[a-z/]+", text)], texts

    plain, _ = tags("n" * len(hostile))
    found, texts = tags(hostile)
    assert found == plain, "no tag more"
    for text in texts:
        page = Outline(text)
        assert hostile in page.text
        assert not [name for name, _ in page.attributes if name.startswith("on")]
        assert not [value for name, value in page.attributes if name == "href" and not value.startswith("./")]


def test_counts_of_a_fork_without_details_are_not_shown_as_free(web: WebBench) -> None:
    bench, counted = UsageBench(web.ledger, TurnableClock(), UTC), "a model that is only counted"
    web.ledger.register("p")
    now_ms = int(bench.clock.now() * 1000)
    for sent_ms in (now_ms - 3 * _DAY_MS, now_ms):
        record, cost = bench.record(sent_ms, random.Random(1))
        record = msgspec.structs.replace(record, code="", model=counted, tokens=Tokens(unclassified=900), counted=1)
        bench.book((record, msgspec.structs.replace(cost, nano_usd=0, unpriced="unclassified_tokens")))
    web.ledger.periods.refresh()
    for path in ("/", "/usage?by=model&range=24h"):
        (row,) = re.findall(
            f"<tr[^>]*><th[^>]*>(?:<a[^>]*>)?<bdi>{counted}.*?</tr>", web.client().get(path).text, re.DOTALL
        )
        assert "900" in row
        assert "$" not in row, path
    assert re.findall(r"By its end</dt><dd><span[^>]*>([^<]*)", web.client().get("/usage").text) == [formats.usd(None)]


def test_the_pages_load_and_run_nothing(client: FlaskClient) -> None:
    for path in ("/usage", "/requests"):
        policy = client.get(path).headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "script-src" not in policy
        assert "unsafe" not in policy
        assert "form-action 'self'" in policy


def test_with_a_token_the_pages_demand_it(web: WebBench) -> None:
    client = web.client(token="t-0123456789")

    for path in ("/usage", "/requests", "/api/usage", "/api/usage?format=csv"):
        assert client.get(path).status_code == 401
        assert client.get(path, headers={"Authorization": "Bearer t-0123456789"}).status_code == 200


def test_csv_comes_as_a_file(client: FlaskClient) -> None:
    answer = client.get("/api/usage?by=client&format=csv")

    assert answer.headers["Content-Disposition"] == 'attachment; filename="usage-by-client.csv"'
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
