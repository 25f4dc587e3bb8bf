"""What answers say besides windows adds up: what one does not say stays."""

from exporter.quotas.asking import Balance, Report
from exporter.quotas.told import Told

MONEY = (Balance("credits", 5),)


def test_what_an_answer_does_not_say_stays() -> None:
    full = Told().after(Report(plan="max", balances=MONEY, reset_credits=0, elsewhere_ratio=0.0), now_ms=5)

    assert full == Told(plan="max", balances=MONEY, reset_credits=0, elsewhere_ratio=0.0, elsewhere_ms=5)
    assert full.after(Report(), now_ms=9) == full


def test_what_it_says_counts_from_then_on() -> None:
    told = Told(plan="pro", reset_credits=3, elsewhere_ratio=0.5, elsewhere_ms=1)

    changed = told.after(Report(plan="max", reset_credits=2, elsewhere_ratio=0.25), now_ms=9)

    assert changed == Told(plan="max", reset_credits=2, elsewhere_ratio=0.25, elsewhere_ms=9)
