"""The values that flow through the stages: usage record, rejection, cost.

Times are milliseconds since the Unix epoch (UTC), durations milliseconds, money integer nano-USD. Token buckets are
exclusive: each token is in exactly one of them, except ``reasoning``, which is the part of ``output`` spent on
reasoning.
"""

from enum import IntEnum
from typing import Literal, get_args

import msgspec


class Coded(IntEnum):
    """An enum that is stored by its number, so never renumber it. Elsewhere ``word`` stands for a member."""

    @property
    def word(self) -> str:
        return self.name.lower()


class Billing(Coded):
    """What a cost means.

    ``METERED``: an API key, money spent. ``SUBSCRIPTION``: an OAuth account, the API-equivalent value of what was used.
    """

    UNKNOWN = 0
    METERED = 1
    SUBSCRIPTION = 2


MONEY_FIRST = (Billing.METERED, Billing.SUBSCRIPTION, Billing.UNKNOWN)
"""Kinds of billing in the order in which people read them: money comes before the value of subscriptions."""


class Basis(Coded):
    """Which price was used: the model's own, or the ``_default`` row."""

    EXACT = 0
    DEFAULT = 1


class CredentialFacts(msgspec.Struct, frozen=True, gc=False):
    """What the inventory knows about the credential of a record; empty or unknown where it knows nothing."""

    provider: str = ""
    billing: Billing = Billing.UNKNOWN
    openai_compatible: bool = False


UNKNOWN_CREDENTIAL = CredentialFacts()


BASE_TIERS = frozenset({"", "auto", "default", "standard", "on_demand", "standard_only"})
"""Names of the base tier: ``on_demand`` is Groq's, ``standard_only`` is how Anthropic's clients ask for it."""


class Tokens(msgspec.Struct, frozen=True, gc=False):
    """Exclusive token buckets, all >= 0. ``output`` includes ``reasoning``; ``unclassified`` has no known bucket."""

    uncached: int = 0
    cache_read: int = 0
    cache_write: int = 0
    output: int = 0
    reasoning: int = 0
    unclassified: int = 0

    @property
    def prompt(self) -> int:
        """Size of the whole prompt, which decides the long-context tier."""
        return self.uncached + self.cache_read + self.cache_write


class UsageRecord(msgspec.Struct, frozen=True, gc=False):
    """One upstream attempt, normalized. ``client`` and ``source`` are keyed hashes, never raw values.

    ``counted`` is the number of requests: 0 for records that carry tokens but are not a user's request (a prewarm with
    ``generate: false``, the extra record of Codex' image tool), several for an increment of a proxy without details.
    The image tool's record is ``extra``: its attempt has another record. ``code`` is empty for a success, else the
    value of the label ``code`` of ``cliproxy_failed_requests_total``. ``service_tier`` is empty for the base tier;
    ``tier_only_asked`` says that the client named the tier and the answer did not.
    ``known_family`` is false where the meaning of the token counts had to be guessed.
    """

    ts_ms: int
    fingerprint: int
    provider: str
    model: str
    alias: str
    auth_index: str
    source: str
    client: str
    billing: Billing
    tokens: Tokens
    latency_ms: int = 0
    ttft_ms: int = 0
    counted: int = 1
    extra: bool = False
    code: str = ""
    service_tier: str = ""
    tier_only_asked: bool = False
    known_family: bool = True


RejectionReason = Literal[
    "bad_timestamp",
    "home_result",
    "impossible_time",
    "impossible_tokens",
    "internal_error",
    "malformed_json",
    "malformed_record",
    "missing_timestamp",
    "not_an_object",
    "spoilt_batch",
]
REJECTION_REASONS = get_args(RejectionReason)


class Rejected(msgspec.Struct, frozen=True, gc=False):
    """A wire record that cannot become a usage record. ``detail`` is a sentence."""

    reason: RejectionReason
    detail: str


class Cost(msgspec.Struct, frozen=True, gc=False):
    """What a usage record costs. ``unpriced`` is empty, or says in snake_case why the cost is not exact.

    ``price`` describes the price that was used, as text that is stored with the entry's price row: the same text means
    the same price.
    """

    nano_usd: int
    basis: Basis
    price: str
    unpriced: str = ""
