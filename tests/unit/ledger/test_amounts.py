from exporter.ledger.amounts import Amounts


def test_the_failed_share_of_a_fork_that_sends_only_counts_is_unknown() -> None:
    counts = Amounts(requests=5, unclassified=900)
    assert counts.failed_share is None
    seen = Amounts(requests=5, input=800, output=100)
    assert Amounts.total([counts, seen]).failed_share == 0
    assert Amounts.total([counts, Amounts(requests=5, failed=1)]).failed_share == 0.1
    assert Amounts(requests=2).failed_share == 0


def test_tokens_that_are_all_unclassified_have_no_price() -> None:
    counts = Amounts(requests=5, unclassified=900)
    assert (counts.cost, counts.cost_per_request) == (None, None)
    free = Amounts(requests=5, input=900)
    assert (free.cost, free.cost_per_request) == (0, 0)
    some = Amounts.total([counts, Amounts(requests=5, input=100, nano_usd=70)])
    assert (some.cost, some.cost_per_request) == (70, 7)
