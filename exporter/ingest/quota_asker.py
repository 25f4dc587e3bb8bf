"""Asks providers for the windows of accounts that nobody is using. Its pace gets nobody banned.

Headers come first: if a provider recently reported an account's windows with an answer, it is not asked for them. One
call is made at a time, over all proxies; ``exporter.quotas.pacing`` decides when. Proxies whose URLs share a host, and
all proxies in the local network, are assumed to call providers from one address. Polls have connections of their own,
so no call here delays one.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import structlog
from msgspec import Struct
from msgspec.structs import replace
from prometheus_client import Counter

from exporter import formats
from exporter.clock import Clock
from exporter.errors import ProxyError
from exporter.ledger.ledger import Ledger
from exporter.ledger.shown_names import ShownNames
from exporter.ledger.store.quota_asks import QuestionKey
from exporter.ledger.store.quota_points import QuotaKey
from exporter.ledger.views.quotas import QuotaWindow
from exporter.normalize.inventory import Account
from exporter.quotas.all_providers import provider_of
from exporter.quotas.base import Call, Question, Refusal, Report
from exporter.quotas.pacing import OK, RESTS_ACCOUNT, RESULTS, LastAsked
from exporter.quotas.reading import is_current
from exporter.sources.paths import V0, V8, Paths
from exporter.sources.proxy_client import ProxyClient
from exporter.sources.proxy_status import ProxyStatus, Statuses
from exporter.sources.quota_calls import ask, find_account_ids, find_quota_api

ASK_SECONDS = 5.0
"""How often to check whose turn it is."""

_API_SECONDS = 900
"""The pace for providers that only the proxy's quota API knows."""
_LOOK_AGAIN_SECONDS = 24 * 3600
_WINDOWS = 0
"""The question about windows; others are about what headers never contain."""

_log = structlog.get_logger("exporter.quotas")

_Lane = tuple[str, str]
"""Provider, and the network that calls come from."""


@dataclass(frozen=True, slots=True)
class _Turn:
    """A question about an account that may be asked from ``due_ms`` on."""

    client: ProxyClient
    status: ProxyStatus
    credential: int
    account: Account
    number: int
    questions: Sequence[Question]
    due_ms: int

    @property
    def key(self) -> QuestionKey:
        return self.credential, self.number

    @property
    def lane(self) -> _Lane:
        return self.account.facts.provider, self.client.network


class _Known(Struct, frozen=True):
    """What is known about one version of a proxy: whose accounts its quota API covers, and whether it can call."""

    version: str
    at: float
    quota_api: frozenset[str] = frozenset()
    can_call: bool = True


class QuotaAsker:
    """Asks providers, with one call per run.

    ``unknown`` lists by proxy the accounts that are not asked about, although only asking could reveal their windows.
    Any thread may read it; it is replaced, never changed.
    """

    def __init__(
        self,
        *,
        statuses: Statuses,
        clients: Mapping[str, ProxyClient],
        ledger: Ledger,
        shown_names: ShownNames,
        clock: Clock,
        fetches: Counter,
    ) -> None:
        """``clients``, by name, are those of the proxies whose accounts are asked about; nobody else uses them.

        ``fetches`` counts questions by proxy, provider and result.
        """
        self.unknown: Mapping[str, Sequence[str]] = {}
        self._statuses = statuses
        self._clients = clients
        self._ledger = ledger
        self._asks = ledger.quota_asks
        self._shown_names = shown_names
        self._clock = clock
        self._fetches = fetches
        self._stopping = False
        self._logged: set[str] = set()
        self._known: dict[str, _Known] = {}

    def ask_next(self) -> None:
        """Make the call whose turn it is, if there is one. Raises LedgerError."""
        now_ms = self._clock.now_ms()
        self._asks.follow_clock(now_ms)
        windows = self._ledger.quotas.current()
        self._note_unknown(windows, now_ms)
        last_reported = _last_reported(windows)
        turns = [turn for status in self._statuses() for turn in self._turns(status, last_reported)]
        lanes = self._lanes()
        self._asks.outlook = {
            turn.credential: replace(self._last(turn.key), next_ms=max(turn.due_ms, lanes[turn.lane]))
            for turn in turns
            if turn.number == _WINDOWS
        }
        due = [turn for turn in turns if max(turn.due_ms, lanes[turn.lane]) <= now_ms]
        if due and not self._stopping:
            self._ask(min(due, key=lambda turn: (turn.due_ms, turn.number, turn.credential)))

    def stop(self) -> None:
        """End the call under way, and make no other. For any thread."""
        self._stopping = True
        for client in self._clients.values():
            client.cancel()

    def close(self) -> None:
        for client in self._clients.values():
            client.close()

    def _turns(self, status: ProxyStatus, last_reported: Mapping[int, int]) -> Iterator[_Turn]:
        client = self._clients.get(status.name)
        if client is None or not status.up or self._stopping:
            return
        known, now_ms = self._look_at(client, status), self._clock.now_ms()
        for credential, account in _askable(status, now_ms).items():
            provider = account.facts.provider
            questions = _questions(provider, known)
            for result in RESULTS if questions else ():
                self._fetches.labels(status.name, provider, result)  # at 0, so that its first rise shows
            for number, question in enumerate(questions):
                last = self._last((credential, number))
                due_ms = last.due_ms(question, renewed_ms=account.renewed_ms, now_ms=now_ms)
                if number == _WINDOWS and credential in last_reported:
                    due_ms = max(due_ms, last_reported[credential] + question.every_seconds * 1000)
                yield _Turn(client, status, credential, account, number, questions, due_ms)

    def _look_at(self, client: ProxyClient, status: ProxyStatus) -> _Known:
        known, now = self._known.get(status.name), self._clock.monotonic()
        if known is None or known.version != status.version or now - known.at >= _LOOK_AGAIN_SECONDS:
            try:
                known = _Known(status.version, now, find_quota_api(client, _paths(status)))
            except ProxyError:
                known = _Known(status.version, now - _LOOK_AGAIN_SECONDS + _API_SECONDS)
            self._known[status.name] = known
        return known

    def _lanes(self) -> Mapping[_Lane, int]:
        """When each lane is free. Accounts that are no longer listed count, too: they have used it."""
        name_store = self._ledger.name_store
        networks = {name_store.proxies[name]: client.network for name, client in self._clients.items()}
        lanes: defaultdict[_Lane, int] = defaultdict(int)
        for (credential, _), last in self._asks.asked.items():
            found = name_store.credentials.get(credential)
            if found is not None and found.proxy in networks:
                lane = found.provider, networks[found.proxy]
                lanes[lane] = max(lanes[lane], last.lane_ms)
        return lanes

    def _ask(self, turn: _Turn) -> None:
        question, name = turn.questions[turn.number], self._shown_names.credential(turn.credential)
        before = self._last(turn.key)
        begun = before.begun(question, now_ms=self._clock.now_ms())
        self._asks.save(turn.key, begun)
        way = question.ways[begun.way % len(question.ways)]
        client, paths, auth_index = turn.client, _paths(turn.status), turn.account.auth_index
        try:
            ids = find_account_ids(client, paths, auth_index)
            report = Report(refusal=Refusal.GONE)
            if ids is not None:
                report = ask(client, paths, auth_index, way, ids, now_ms=self._clock.now_ms)
        except ProxyError as exc:
            # No provider was called, so nobody else has to wait.
            self._asks.save(turn.key, replace(begun, lane_ms=before.lane_ms))
            _log.info("quota_not_asked", proxy=turn.status.name, credential=name, message=str(exc))
            return
        if self._stopping:
            return  # what was cut off says nothing about the provider
        if report.refusal is Refusal.UNSUPPORTED:
            report = self._unsupported(turn, way, report)
        now_ms = self._clock.now_ms()
        ended = begun.ended(question, report, now_ms=now_ms, seed=turn.credential)
        asked = {turn.key: ended}
        if report.refusal in RESTS_ACCOUNT or (report.refusal is Refusal.FORBIDDEN and turn.number == _WINDOWS):
            for key in [(turn.credential, number) for number in range(len(turn.questions))]:
                other = self._last(key)
                asked.setdefault(key, replace(other, next_ms=max(other.next_ms, ended.next_ms)))
        self._asks.take(turn.credential, asked, report, now_ms=now_ms)
        self._fetches.labels(turn.status.name, turn.account.facts.provider, ended.result).inc()
        if ended.result != begun.result:
            log = _log.info if ended.result == OK else _log.warning
            log("quota_asked", proxy=turn.status.name, credential=name, result=ended.result)

    def _unsupported(self, turn: _Turn, way: Call | None, report: Report) -> Report:
        """What ``report`` means: a quota API may lack one account; a proxy without ``api-call`` lacks it for all."""
        if way is None:
            return replace(report, refusal=Refusal.NOT_FOUND)
        self._known[turn.status.name] = replace(self._known[turn.status.name], can_call=False)
        _log.warning(
            "quotas_unsupported",
            proxy=turn.status.name,
            message=f"{turn.client.where} cannot call providers (CPA can since 6.6.63), so the exporter knows only the"
            " windows that they report with their answers.",
        )
        return report

    def _last(self, key: QuestionKey) -> LastAsked:
        return self._asks.asked.get(key) or LastAsked()

    def _note_unknown(self, windows: Mapping[QuotaKey, QuotaWindow], now_ms: int) -> None:
        read = {key[0] for key, quota in windows.items() if is_current(quota.reading, now_ms)}
        unknown: dict[str, Sequence[str]] = {}
        for status in self._statuses():
            if status.name in self._clients or not status.up:
                continue
            accounts = unknown[status.name] = sorted(
                self._shown_names.credential(id_)
                for id_, account in _askable(status, now_ms).items()
                if id_ not in read and provider_of(account.facts.provider).questions
            )
            if accounts and status.name not in self._logged:
                self._logged.add(status.name)
                _log.info(
                    "quotas_passive",
                    proxy=status.name,
                    accounts=", ".join(accounts),
                    message="With EXPORTER_QUOTAS=active the exporter would know the windows of"
                    f" {formats.count(len(accounts))} more account{'' if len(accounts) == 1 else 's'}.",
                )
        self.unknown = unknown


def _last_reported(windows: Mapping[QuotaKey, QuotaWindow]) -> dict[int, int]:
    """When each credential's provider last reported a window without being asked."""
    found: dict[int, int] = {}
    for (credential, _, _), quota in windows.items():
        if quota.reading.source != "active":
            found[credential] = max(found.get(credential, 0), quota.reading.observed_ms)
    return found


def _askable(status: ProxyStatus, now_ms: int) -> dict[int, Account]:
    """The accounts that a provider can be asked about. Of several logins to one, the last that works is preferred."""
    return {
        credential: account
        for credential, account in sorted(status.accounts, key=lambda each: bool(each[1].is_up(now_ms)))
        if account.auth_type != "api_key" and account.auth_index and not account.disabled
    }


def _questions(provider: str, known: _Known) -> list[Question]:
    """The questions about an account of ``provider``, the one about its windows first."""
    questions = list(provider_of(provider).questions) if known.can_call else []
    if provider in known.quota_api:
        first = questions[0] if questions else Question(_API_SECONDS, ())
        questions[:1] = [replace(first, ways=(None, *first.ways))]
    return questions


def _paths(status: ProxyStatus) -> Paths:
    return V8 if status.source.endswith(V8.api) else V0
