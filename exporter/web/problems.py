"""What is wrong, in words: a headline, and what to do.

A *problem* means that usage is not read or not kept; a *note* means that it is, but a figure or an account needs a
look. Nothing here makes a call: it uses what the page has.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial, reduce
from typing import Literal

from exporter import formats
from exporter.history.state import HistoryStatus
from exporter.ledger.shown_names import Misfit, ShownNames
from exporter.ledger.views.totals import Flow
from exporter.limits.board import LimitBoard
from exporter.pricing.pricer import Pricer
from exporter.records import Billing
from exporter.sentences import counted, joined, pattern, say
from exporter.sources.base import MOST_POPPED
from exporter.sources.proxy_config import MAX_RETENTION_SECONDS
from exporter.sources.proxy_status import STATES, ProxyStatus
from exporter.web.credential_states import CredentialState
from exporter.web.overview import MOST_REJECTED, Figures

_RECENT_MS = 86_400_000
_WHY_MISSED = say("Either another program read them, or nobody did in time, or an answer was lost on its way.")
_WHY_MISSED_IN_SNAPSHOT = say(
    "The proxy shows only its newest requests, and more came between two reads: set COLLECTOR_INTERVAL_SECONDS lower."
)
_LONGEST_RETENTION = say("Set redis-usage-queue-retention-seconds: 3600 in its config.yaml, the maximum.")
_BILLING = {
    Billing.METERED: say("of metered cost"),
    Billing.SUBSCRIPTION: say("of subscription value"),
    Billing.UNKNOWN: say("of unknown billing"),
}
_OF_CREDENTIALS = {
    "cooling down": (
        pattern("cools down until {moment}"),
        pattern("Until then the proxy does not use this {provider} account: it reached a limit, or it failed."),
    ),
    "disabled": (
        pattern("is disabled"),
        pattern("The proxy does not use this {provider} account until somebody enables it there."),
    ),
    "unavailable": (
        pattern("is unavailable"),
        pattern(
            "The proxy does not use this {provider} account, and does not say until when. Its log says why; a new"
            " login helps if the old one has expired."
        ),
    ),
    "partly failing": (
        pattern("fails for some models"),
        pattern("The proxy uses this {provider} account for other models. Its log says why."),
    ),
}
"""Title and text for each state that people should know."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """``kind`` and ``subject`` begin the headline, ``title`` ends it, ``text`` says what to do.

    ``subject`` and ``names`` come from outside.
    """

    severity: Literal["problem", "note"] = "note"
    title: str
    text: str
    kind: str = ""
    subject: str = ""
    names: tuple[str, ...] = ()


def find_problems(
    *,
    statuses: Iterable[ProxyStatus],
    flows: Mapping[str, Flow],
    credentials: Iterable[CredentialState],
    figures: Figures | None,
    ledger_problem: str,
    prices: Pricer,
    limits: LimitBoard,
    shown_names: ShownNames,
    folded: int,
    moment: Callable[[float], str],
    now_ms: float,
    history: HistoryStatus | None,
) -> Iterator[Problem]:
    """Everything that is wrong, worst first. ``ledger_problem`` is a sentence, empty if the ledger can be read."""
    by_name = {status.name: status for status in statuses}
    yield from (_of_state(status) for status in by_name.values() if status.state not in ("ok", "starting"))
    if ledger_problem:
        yield Problem(severity="problem", title=say("The ledger cannot be read"), text=ledger_problem)
    yield from (_of_state(status) for status in by_name.values() if status.state == "starting")
    yield from (_waiting(name, flow.pending) for name, flow in flows.items() if flow.pending)
    for name, flow in flows.items():
        yield from _of_losses(name, flow, moment, now_ms, status=by_name.get(name))
    for state in credentials:
        title, text = _OF_CREDENTIALS.get(state.state, ("", ""))
        if title:
            title = say(title, moment=moment(state.retry_ms or 0))
            subject = f"{state.name} ({state.proxy})" if len(by_name) > 1 else state.name
            text = say(text, provider=state.provider)
            yield Problem(kind=pattern("Account"), subject=subject, title=title, text=text)
    for problem in prices.problems:
        yield Problem(title=say("A price list is not up to date"), text=problem)
    for problem in limits.problems:
        yield Problem(severity="problem", title=say("A limit has a mistake"), text=problem)
    if unmatched := limits.current.unmatched:
        yield Problem(
            title=counted(
                "{number:,} of the limits matches nothing that was used so far",
                "{number:,} of the limits match nothing that was used so far",
                len(unmatched),
            ),
            text=say(
                "Compare their provider, models, credential, client and proxy with the labels in /metrics. Limits:"
            ),
            names=unmatched,
        )
    if alias_problem := shown_names.file_problem:
        yield Problem(severity="problem", title=say("The aliases have a mistake"), text=alias_problem)
    yield from _of_aliases(shown_names.misfits)
    yield from _of_history(history)
    yield from _of_figures(figures)
    if folded:
        yield Problem(
            title=say("{number:,} combinations of labels are counted under “other”", number=folded),
            text=say("Set EXPORTER_MAX_LABEL_SETS higher to show those that come from now on under their own names."),
        )


_of_proxy = partial(Problem, kind=pattern("Proxy"))


def _of_state(status: ProxyStatus) -> Problem:
    headline = STATES[status.state].headline
    if status.state == "starting":
        return _of_proxy(subject=status.name, title=headline, text=say("The first poll is on its way."))
    return _of_proxy(subject=status.name, title=headline, text=status.sentence, severity="problem")


def _waiting(proxy: str, records: int) -> Problem:
    title = counted(
        "has {number:,} record that is stored and not booked yet",
        "has {number:,} records that are stored and not booked yet",
        records,
    )
    text = say("The next poll books them. If they stay, the log says why.")
    return _of_proxy(subject=proxy, title=title, text=text)


def _of_aliases(misfits: Sequence[Misfit]) -> Iterator[Problem]:
    nothing = tuple(
        say("{alias} (nearest: {name})", alias=each.alias, name=each.names[0]) if each.names else each.alias
        for each in misfits
        if not each.several
    )
    if nothing:
        yield Problem(
            title=counted(
                "{number:,} of the aliases names nothing that is known so far",
                "{number:,} of the aliases name nothing that is known so far",
                len(nothing),
            ),
            text=say(
                "A client is known from its first request on. cliproxy-exporter names lists what an alias can name."
                " Aliases:"
            ),
            names=nothing,
        )
    several = tuple(f"{each.alias}: {', '.join(each.names)}" for each in misfits if each.several)
    if several:
        yield Problem(
            title=counted(
                "{number:,} of the aliases names several accounts",
                "{number:,} of the aliases name several accounts",
                len(several),
            ),
            text=say(
                "Each of them has its provider or masked label after the alias. To tell them apart yourself, name"
                " them by file. Aliases:"
            ),
            names=several,
        )


def _of_history(history: HistoryStatus | None) -> Iterator[Problem]:
    if history is None:
        return
    if not history.is_well:
        yield Problem(
            severity="note" if history.state == "away" else "problem",
            title=counted(
                "The history in Supabase is not written: {number:,} record waits",
                "The history in Supabase is not written: {number:,} records wait",
                history.waiting,
            ),
            text=history.sentence,
        )
    if history.refused:
        yield Problem(
            title=counted(
                "Supabase refuses {number:,} record",
                "Supabase refuses {number:,} records",
                history.refused,
            ),
            text=say(
                "They are in the ledger and in all figures here. They are tried again when the exporter starts; the"
                " log names the reason."
            ),
        )


def _of_losses(
    proxy: str, flow: Flow, moment: Callable[[float], str], now_ms: float, *, status: ProxyStatus | None
) -> Iterator[Problem]:
    """Losses of the last day: later nobody can do anything about them, and metrics and log keep them."""
    text: str
    if flow.gap_ms is not None and _is_recent(flow.gap_ms, now_ms):
        at = moment(flow.gap_ms)
        if flow.gap_seconds is None:
            title = say("lost the answer to a read of its usage queue at {moment}", moment=at)
            text = say(
                "It forgets what it hands out, so up to {most:,} records may be missing from all figures. The exporter"
                " was stopped while the answer was on its way, the connection broke, or the answer came too late.",
                most=MOST_POPPED,
            )
        elif status is not None and status.source_is_pushed:
            span = formats.span(flow.gap_seconds)
            title = say("was not subscribed to for {span} until {moment}", span=span, moment=at)
            text = say(
                "What waited in its queue was read. But if another program subscribed or polled the queue meanwhile, it"
                " alone got the records of that time, and they are missing from all figures."
            )
        else:
            title = say("was not read for {span} until {moment}", span=formats.span(flow.gap_seconds), moment=at)
            is_longest = status is not None and status.retention_seconds == MAX_RETENTION_SECONDS
            text = joined(
                say(
                    "That is longer than it keeps a record, so what it did in between may be missing from all figures,"
                    " unless it was off."
                ),
                None if is_longest else _LONGEST_RETENTION,
            )
        yield _of_proxy(subject=proxy, title=title, text=text)
    if flow.missed and flow.missed_ms is not None and _is_recent(flow.missed_ms, now_ms):
        why = _WHY_MISSED_IN_SNAPSHOT if status is not None and status.source_is_cumulative else _WHY_MISSED
        title = counted(
            "counted about {number:,} record that never arrived, the last ones at {moment}",
            "counted about {number:,} records that never arrived, the last ones at {moment}",
            flow.missed,
            moment=moment(flow.missed_ms),
        )
        text = say("They are missing from all figures. {why} The number is an estimate over all time.", why=why)
        yield _of_proxy(subject=proxy, title=title, text=text)


def _is_recent(at_ms: int, now_ms: float) -> bool:
    """Whether it was within the last day. A time in the future comes from a clock that was ahead, and says nothing."""
    return 0 <= now_ms - at_ms < _RECENT_MS


def _of_figures(figures: Figures | None) -> Iterator[Problem]:
    if figures is None:
        return
    for proxy, reasons in figures.rejected.items():
        number = sum(reasons.values())
        title = (
            say("sent more than {most:,} records that could not be booked", most=MOST_REJECTED)
            if number > MOST_REJECTED
            else counted(
                "sent {number:,} record that could not be booked",
                "sent {number:,} records that could not be booked",
                number,
            )
        )
        text = say(
            "They are missing from all figures, and kept for 30 days. After an update of the exporter try them again:"
            " cliproxy-exporter replay. Reasons:"
        )
        names = tuple(f"{reason} ({formats.count(some)})" for reason, some in sorted(reasons.items()))
        yield _of_proxy(subject=proxy, title=title, text=text, names=names)
    if figures.unpriced:
        number = sum(figures.unpriced.values())
        yield Problem(
            title=counted(
                "{number:,} request of this month is not fully priced",
                "{number:,} requests of this month are not fully priced",
                number,
            ),
            text=say(
                "Some of their tokens or their service tier have no known price, or nobody reported their tokens. So"
                " the real cost differs, and is usually higher. cliproxy_unpriced_requests_total has the reasons."
                " Models:"
            ),
            names=_most(figures.unpriced),
        )
    if figures.by_default:
        sums = {billing: sum(usage.cost(billing) for usage in figures.by_default.values()) for billing in Billing}
        money = [
            say("{money} {kind}", money=formats.usd(nano_usd), kind=_BILLING[billing])
            for billing, nano_usd in sums.items()
            if nano_usd
        ]
        yield Problem(
            title=counted(
                "{money} this month is a guess",
                "{money} this month are a guess",
                len(money),
                money=reduce(lambda one, other: say("{one} and {other}", one=one, other=other), money),
            ),
            text=say("No price is known for these models, so the default price was used. Models:"),
            names=_most({model: usage.total.nano_usd for model, usage in figures.by_default.items()}),
        )


def _most(numbers: Mapping[str, int]) -> tuple[str, ...]:
    return tuple(name for name, _ in sorted(numbers.items(), key=lambda item: (-item[1], item[0])))
