"""A limit in words, for the status page and the command line."""

from dataclasses import dataclass, field

from exporter import formats
from exporter.ledger.shown_names import CredentialLabels
from exporter.limits.board import Board
from exporter.limits.limit_file import Plan
from exporter.limits.model import CONFIGURED, PROVIDER, SHARE, LimitWindow
from exporter.limits.pools import STATES
from exporter.limits.strategies import CALENDAR
from exporter.sentences import listed, pattern, say

_DASH = "\N{EN DASH}"
_UNITS = {SHARE: "", "tokens": say("tokens"), "requests": say("requests")}
_PER = {period.name: period.words for period in CALENDAR.values()}
_IN_STATE = {
    "usable": pattern("{number} usable"),
    "cooling": pattern("{number} cooling"),
    "exhausted": pattern("{number} exhausted"),
    "unknown": pattern("{number} unknown"),
}
_OLD_MS = 900_000
"""An older reading of a provider's window is shown with its age: accounts in use or asked about are read more often."""


@dataclass(frozen=True, slots=True)
class LimitRow:
    """One window at the moment ``now_ms``. ``names_proxy``: there are several proxies, so the proxy is named."""

    window: LimitWindow
    now_ms: int
    names_proxy: bool = False

    @property
    def name(self) -> str:
        """The limit's name, or the account whose provider reports the window."""
        return self.window.name if self.window.kind == CONFIGURED else self.window.credential

    @property
    def owner(self) -> str:
        """The heading under which windows are grouped: the account, if the limit has one."""
        return self.window.credential or self.name

    @property
    def note(self) -> str:
        """What distinguishes the window from others of that name, and its age."""
        return listed(self.about, self.age)

    @property
    def about(self) -> str:
        """Account or provider, model, unit and window."""
        of_account = self.window.credential if self.window.kind == CONFIGURED else self.window.provider
        unit, span = self.window.unit, self.window.window
        time = _PER.get(span) or say("{span} window", span=span)
        proxy = self.window.proxy if self.names_proxy else ""
        return listed(of_account, self.window.scope, _UNITS.get(unit, unit), time, proxy)

    @property
    def age(self) -> str:
        """When the provider reported the window; empty if that was recently."""
        age_ms = self.now_ms - self.window.observed_ms
        is_old = self.window.kind == PROVIDER and age_ms >= _OLD_MS
        return say("read {ago}", ago=formats.since(age_ms / 1000)) if is_old else ""

    @property
    def used(self) -> str:
        """What was used, a dash where only the share is known."""
        return _amount(self.window.used, self.window.unit)

    @property
    def budget(self) -> str:
        """The budget, a dash where only the share is known."""
        return _amount(self.window.budget, self.window.unit)

    @property
    def amount(self) -> str:
        """Used and budget in one: ``1.2M of 5.0M tokens``; empty where only the share is known."""
        if self.window.unit == SHARE:
            return ""
        amount = say("{used} of {budget}", used=self.used, budget=self.budget)
        unit = _UNITS.get(self.window.unit)
        return say("{amount} {unit}", amount=amount, unit=unit) if unit else amount

    @property
    def resets(self) -> str:
        """The time until the reset, or why there is none."""
        if self.window.reset_ms is not None:
            return formats.until((self.window.reset_ms - self.now_ms) / 1000)
        if self.window.kind == PROVIDER:
            return say("reset unknown") if self.window.used_ratio else say("not started")
        return say("rolling") if self.window.start_ms is not None else say("not open")

    @property
    def pace(self) -> str:
        return formats.times(self.window.pace(self.now_ms))

    @property
    def exhausted(self) -> str:
        """The time until the budget is used up at this pace; a dash if the reset comes first."""
        if self.window.used_ratio >= 1:
            return say("used up")
        moment_ms = self.window.exhausted_ms(self.now_ms)
        return _DASH if moment_ms is None else formats.until((moment_ms - self.now_ms) / 1000)


@dataclass(slots=True)
class WorthRow:
    """What an account costs and is worth, in words; ``plan`` is empty without one."""

    name: str
    note: str
    plan: str = ""
    windows: list[str] = field(default_factory=list)


def worth_rows(board: Board, *, names_proxy: bool) -> list[WorthRow]:
    """The accounts that have a plan, or a window of known worth."""
    rows: dict[CredentialLabels, WorthRow] = {}

    def row(proxy: str, credential: str, provider: str) -> WorthRow:
        note = f"{provider}, {proxy}" if names_proxy else provider
        return rows.setdefault(CredentialLabels(proxy, credential, provider), WorthRow(credential, note))

    for key, found in board.plans.items():
        price = _price(found.plan)
        row(*key).plan = say(
            "worth {worth} this month, costs {price} a month", worth=formats.usd(found.nano_usd), price=price
        )
    for window in sorted(board.worth):
        usd = board.worth[window].usd
        if usd is not None:
            estimate, low, high = (formats.usd(round(each * 1e9)) for each in usd)
            name = " ".join(filter(None, (window.window, window.scope)))
            row(window.proxy, window.credential, window.provider).windows.append(
                say("{name} {estimate} ({low} to {high})", name=name, estimate=estimate, low=low, high=high)
            )
    return [rows[key] for key in sorted(rows)]


def pool_rows(board: Board, *, names_proxy: bool) -> list[dict[str, str]]:
    """``name`` and ``text`` for each provider: its accounts by state, when one is back, and when all are empty."""
    now_ms = board.at_ms or 0
    rows = []
    for key, pool in sorted(board.pools.items()):
        counts = ((state, pool.accounts[state]) for state in STATES)
        text = listed(*(say(_IN_STATE[state], number=some) for state, some in counts if some or state == "usable"))
        if pool.next_back_ms is not None:
            back = formats.until((pool.next_back_ms - now_ms) / 1000)
            text = say("{pool}; next back in {time}", pool=text, time=back)
        if pool.empty_ms is not None and pool.empty_ms > now_ms:
            empty = formats.until((pool.empty_ms - now_ms) / 1000)
            text = say("{pool}; empty in {time} at this pace", pool=text, time=empty)
        rows.append({"name": f"{key.provider}, {key.proxy}" if names_proxy else key.provider, "text": text})
    return rows


def _price(plan: Plan) -> str:
    price = plan.price_per_month
    return formats.usd(price) if plan.currency == "USD" else f"{price / 1e9:,.2f} {plan.currency}"


def _amount(value: float | None, unit: str) -> str:
    if value is None:
        return _DASH
    return formats.usd(round(value * 1e9)) if unit == "usd" else formats.short(round(value))
