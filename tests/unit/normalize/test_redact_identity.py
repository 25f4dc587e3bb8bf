"""Which records came with the same response, and which responses are trusted."""

from typing import Any

import pytest

from exporter.normalize.redact import response_identity, takes_windows
from tests.benches.headers import DATE, claude
from tests.fakes.recordings import recorded


def test_stale_headers_have_the_identity_of_the_response_they_came_with() -> None:
    first, second, third, fourth = (
        response_identity(record["response_headers"])
        for record in recorded("v7.2.140/usage-queue/stale-headers.json")["body"]
    )

    assert first == second != ""
    assert third == fourth != ""
    assert first != third


@pytest.mark.parametrize("name", ["Request-Id", "x-request-id", "CF-RAY"])
def test_a_response_is_recognized_by_its_id(name: str) -> None:
    one, other = response_identity({name: ["a1"]}), response_identity({name: ["b2"]})

    assert one != other
    assert response_identity({name.swapcase(): "a1"}) == one


def test_without_an_id_the_moment_and_the_values_identify_a_response() -> None:
    one = claude()

    assert response_identity(one) == response_identity({name.upper(): [value] for name, value in one.items()}) != ""
    assert response_identity(one) != response_identity(claude(utilization="0.22"))
    assert response_identity(one) != response_identity(one | {"Date": "Fri, 21 Aug 2026 10:00:06 GMT"})


@pytest.mark.parametrize(
    "headers",
    [{}, {"Date": DATE}, {"Request-Id": [""]}, {"Request-Id": ["x" * 1000]}, claude() | {"Date": ""}],
    ids=["nothing", "a date is shared by many", "empty id", "no id is that long", "values without a moment"],
)
def test_some_responses_cannot_be_identified(headers: dict[str, Any]) -> None:
    assert response_identity(headers) == ""


@pytest.mark.parametrize(
    ("failed", "status", "takes"),
    [
        (False, 200, True),
        (True, 429, True),
        (True, 403, True),
        (True, 402, True),
        (True, 500, False),
        (True, 401, False),
        (True, 408, False),
        (True, 200, False),
        (True, 0, False),
    ],
)
def test_a_failure_is_trusted_only_with_a_status_of_the_upstream(failed: bool, status: int, takes: bool) -> None:
    assert takes_windows(failed, status) is takes
