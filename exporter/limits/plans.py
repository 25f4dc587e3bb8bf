"""Which accounts have a plan now, and the value of their use this month."""

from dataclasses import dataclass

from exporter.ledger.labels import CredentialLabels, Labels
from exporter.limits.board import Board
from exporter.limits.model import Plan
from exporter.records import Billing
from exporter.sources.proxy_status import Statuses


@dataclass(frozen=True, slots=True)
class PlanValue:
    """An account's plan, and the value of its use in this calendar month at API prices."""

    plan: Plan
    nano_usd: int


def plan_values(board: Board, labels: Labels, statuses: Statuses) -> dict[CredentialLabels, PlanValue]:
    """The listed accounts that have a plan. An API key has none."""
    found: dict[CredentialLabels, PlanValue] = {}
    for status in statuses():
        for id_, account in status.accounts:
            key = CredentialLabels(status.name, labels.credential(id_), account.facts.provider)
            plan = None if account.facts.billing == Billing.METERED else board.plan_of(key.credential)
            if plan is not None:
                found[key] = PlanValue(plan, board.month_nano_usd.get(id_, 0))
    return found
