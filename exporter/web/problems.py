"""What is wrong, in words: one headline and what to do for each thing that an operator should know.

A *problem* means that usage is not read or not kept; a *note* means that it is, but that a figure or an account needs a
look. Nothing here asks anybody: it puts together what the page has.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from exporter import formats
from exporter.history.state import HistoryStatus
from exporter.ledger.labels import Misfit
from exporter.ledger.views.totals import Flow
from exporter.proxy_status import STATES, ProxyStatus
from exporter.records import Billing
from exporter.sources.usage_queue import UsageQueue
from exporter.web.credential_states import CredentialState
from exporter.web.overview import MOST_REJECTED, Figures

_TOLD_FOR_MS = 86_400_000
_WHY_MISSED = "Either another program read them, or nobody did in time, or an answer was lost on its way."
_WHY_MISSED_IN_SNAPSHOT = (
    "The proxy shows only its newest requests, and more came between two looks: set COLLECTOR_INTERVAL_SECONDS lower."
)
_BILLING = {
    Billing.METERED: "of metered cost",
    Billing.SUBSCRIPTION: "of subscription value",
    Billing.UNKNOWN: "of unknown billing",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """``kind`` and ``subject`` begin the headline, ``title`` is the rest of it, ``text`` says what to do.

    ``subject`` and ``names`` come from outside.
    """

    severity: Literal["problem", "note"]
    title: str
    text: str
    kind: Literal["Proxy", "Credential", ""] = ""
    subject: str = ""
    names: tuple[str, ...] = ()


def find_problems(
    *,
    statuses: Iterable[ProxyStatus],
    flows: Mapping[str, Flow],
    credentials: Iterable[CredentialState],
    figures: Figures | None,
    ledger_problem: str,
    price_problems: Iterable[str],
    limit_problems: Iterable[str],
    unmatched_limits: tuple[str, ...],
    alias_problem: str = "",
    misfits: Iterable[Misfit] = (),
    folded: int,
    moment: Callable[[float], str],
    now_ms: float = 0,
    history: HistoryStatus | None = None,
) -> list[Problem]:
    """Everything that is wrong, the worst first.

    ``ledger_problem`` is a sentence, empty if the ledger can be read; ``price_problems`` and ``limit_problems`` are
    sentences, ``unmatched_limits`` the ids of limits against which nothing counts. ``alias_problem`` is a sentence,
    empty if the last edit of the aliases is in use; ``misfits`` are aliases that name nothing or several.
    """
    found = [_of_proxy(status) for status in statuses if status.state not in ("ok", "starting")]
    if ledger_problem:
        found.append(Problem(severity="problem", title="The ledger cannot be read", text=ledger_problem))
    found += [_starting(status) for status in statuses if status.state == "starting"]
    found += [
        Problem(
            severity="note",
            kind="Proxy",
            subject=name,
            title=f"has {_records(flow.pending)} that {'is' if flow.pending == 1 else 'are'} stored and not booked yet",
            text="They are booked with the next poll. If this stays, the log says why.",
        )
        for name, flow in flows.items()
        if flow.pending
    ]
    by_name = {status.name: status for status in statuses}
    for name, flow in flows.items():
        found += _of_losses(name, flow, moment, now_ms, status=by_name.get(name))
    found += [each for state in credentials if (each := _of_credential(state, moment)) is not None]
    found += [
        Problem(severity="note", title="A price list is not up to date", text=f"{sentence} The last good one is used.")
        for sentence in price_problems
    ]
    found += [Problem(severity="problem", title="A limit has a mistake", text=sentence) for sentence in limit_problems]
    if unmatched_limits:
        found.append(
            Problem(
                severity="note",
                title=f"{formats.count(len(unmatched_limits))} of the limits"
                f" {'matches' if len(unmatched_limits) == 1 else 'match'} nothing that was used so far",
                text="Compare their provider, models, credential, client and proxy with the labels in /metrics."
                " Limits:",
                names=unmatched_limits,
            )
        )
    if alias_problem:
        found.append(Problem(severity="problem", title="The aliases have a mistake", text=alias_problem))
    found += _of_aliases(list(misfits))
    if history is not None:
        found += _of_history(history)
    if figures is not None:
        found += _of_figures(figures)
    if folded:
        found.append(
            Problem(
                severity="note",
                title=f"{formats.count(folded)} combinations of labels are counted under “other”",
                text="Set EXPORTER_MAX_LABEL_SETS higher to show those that come from now on under their own names.",
            )
        )
    return found


def _of_aliases(misfits: Sequence[Misfit]) -> Iterable[Problem]:
    nothing = tuple(
        f"{each.alias} (nearest: {each.names[0]})" if each.names else each.alias for each in misfits if not each.several
    )
    if nothing:
        yield Problem(
            severity="note",
            title=f"{formats.count(len(nothing))} of the aliases {'names' if len(nothing) == 1 else 'name'} nothing"
            " that was met so far",
            text="A client is met with its first request. cliproxy-exporter names lists what each alias can be for."
            " Aliases:",
            names=nothing,
        )
    several = tuple(f"{each.alias}: {', '.join(each.names)}" for each in misfits if each.several)
    if several:
        yield Problem(
            severity="note",
            title=f"{formats.count(len(several))} of the aliases {'names' if len(several) == 1 else 'name'} several"
            " accounts",
            text="Each of them has its provider or masked label behind the alias. To tell them apart yourself, name"
            " them by file. Aliases:",
            names=several,
        )


def _of_history(history: HistoryStatus) -> Iterable[Problem]:
    if not history.is_well:
        waiting = f"{_records(history.waiting)} {'waits' if history.waiting == 1 else 'wait'}"
        yield Problem(
            severity="note" if history.state == "away" else "problem",
            title=f"The history in Supabase is not written, {waiting}",
            text=history.sentence,
        )
    if history.refused:
        yield Problem(
            severity="note",
            title=f"The database of the history refuses {_records(history.refused)}",
            text="They are in the ledger and in all figures here. They are tried again when the exporter starts; the"
            " log names the reason.",
        )


def _of_proxy(status: ProxyStatus) -> Problem:
    return Problem(
        severity="problem",
        kind="Proxy",
        subject=status.name,
        title=STATES[status.state].headline,
        text=status.sentence,
    )


def _starting(status: ProxyStatus) -> Problem:
    return Problem(
        severity="note",
        kind="Proxy",
        subject=status.name,
        title=STATES[status.state].headline,
        text="The first poll is on its way.",
    )


def _of_credential(state: CredentialState, moment: Callable[[float], str]) -> Problem | None:
    this = f"this {state.provider} credential"
    if state.retry_ms is not None:
        title, text = (
            f"cools down until {moment(state.retry_ms)}",
            f"The proxy does not use {this} before: a limit was reached, or it failed.",
        )
    elif state.state == "disabled":
        title, text = "is disabled", f"The proxy does not use {this} until somebody enables it there."
    elif state.state == "unavailable":
        title, text = (
            "is unavailable",
            f"The proxy does not use {this}, and does not tell until when. Its log says why; a new login helps if the"
            " old one has expired.",
        )
    elif state.state == "partly failing":
        title, text = "fails for some models", f"The proxy uses {this} for others. Its log says why."
    else:
        return None
    return Problem(severity="note", kind="Credential", subject=state.label, title=title, text=text)


def _of_losses(
    proxy: str, flow: Flow, moment: Callable[[float], str], now_ms: float, *, status: ProxyStatus | None
) -> Iterable[Problem]:
    """Losses of the last day: later nobody can do anything about them, and metrics and log remember."""
    gap_ms = flow.gap_ms if flow.gap_ms is not None and now_ms - flow.gap_ms < _TOLD_FOR_MS else None
    if gap_ms is not None and flow.gap_seconds is None:
        yield Problem(
            severity="note",
            kind="Proxy",
            subject=proxy,
            title=f"lost the answer to a read of its usage queue at {moment(gap_ms)}",
            text=f"It forgets what it hands out, so up to {UsageQueue.most_popped:,} records may be missing in all"
            " figures. The exporter was stopped while the answer was on its way, the connection broke, or the answer"
            " came too late.",
        )
    elif gap_ms is not None and flow.gap_seconds is not None and status is not None and status.source_is_pushed:
        yield Problem(
            severity="note",
            kind="Proxy",
            subject=proxy,
            title=f"was not subscribed to for {formats.span(flow.gap_seconds)} until {moment(gap_ms)}",
            text="What waited in its queue was read. But if another program subscribed meanwhile, it alone got the"
            " records of that time, and they are missing in all figures.",
        )
    elif gap_ms is not None and flow.gap_seconds is not None:
        yield Problem(
            severity="note",
            kind="Proxy",
            subject=proxy,
            title=f"was not read for {formats.span(flow.gap_seconds)} until {moment(gap_ms)}",
            text="That is longer than it keeps a record, so what it did in between may be missing in all figures,"
            " unless it was off. Set redis-usage-queue-retention-seconds: 3600 in its config.yaml, the most it allows.",
        )
    if flow.missed and flow.missed_ms is not None and now_ms - flow.missed_ms < _TOLD_FOR_MS:
        why = _WHY_MISSED_IN_SNAPSHOT if status is not None and status.source_is_cumulative else _WHY_MISSED
        yield Problem(
            severity="note",
            kind="Proxy",
            subject=proxy,
            title=f"counted about {_records(flow.missed)} that never arrived, the last ones at"
            f" {moment(flow.missed_ms)}",
            text=f"They are missing in all figures. {why} The number is an estimate over all time.",
        )


def _of_figures(figures: Figures) -> Iterable[Problem]:
    for proxy, reasons in figures.rejected.items():
        number = sum(reasons.values())
        many = f"more than {formats.count(MOST_REJECTED)} records" if number > MOST_REJECTED else _records(number)
        yield Problem(
            severity="note",
            kind="Proxy",
            subject=proxy,
            title=f"sent {many} that could not be booked",
            text="They are missing in all figures, and kept for 30 days. After an update of the exporter try them"
            " again: cliproxy-exporter replay. Reasons:",
            names=tuple(f"{reason} ({formats.count(some)})" for reason, some in sorted(reasons.items())),
        )
    if figures.unpriced:
        number = sum(figures.unpriced.values())
        yield Problem(
            severity="note",
            title=f"{formats.count(number)} {'request' if number == 1 else 'requests'} of this month"
            f" {'is' if number == 1 else 'are'} not fully priced",
            text="Some of their tokens have no known price, so cost is higher than shown."
            " cliproxy_unpriced_requests_total tells the reasons. Models:",
            names=_most(figures.unpriced),
        )
    if figures.by_default:
        sums = {billing: sum(cost[billing] for cost in figures.by_default.values()) for billing in Billing}
        money = [f"{formats.usd(nano_usd)} {_BILLING[billing]}" for billing, nano_usd in sums.items() if nano_usd]
        yield Problem(
            severity="note",
            title=f"{' and '.join(money)} this month {'is' if len(money) == 1 else 'are'} a guess",
            text="No price is known for these models, so the default price was used. Models:",
            names=_most({model: cost.total() for model, cost in figures.by_default.items()}),
        )


def _most(numbers: Mapping[str, int]) -> tuple[str, ...]:
    return tuple(name for name, _ in sorted(numbers.items(), key=lambda item: (-item[1], item[0])))


def _records(number: int) -> str:
    return f"{formats.count(number)} {'record' if number == 1 else 'records'}"
