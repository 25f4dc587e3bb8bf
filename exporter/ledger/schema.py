"""The ledger's tables, as the list of steps that lead from an empty file to today's schema.

A released step is never edited: ledgers in the field have run it. Times are integers in ms since the epoch, money in
nano-USD, enums their value.
"""

from exporter.ledger.initial_schema import INITIAL

APPLICATION_ID = 0x43504C45
"""``PRAGMA application_id`` of a ledger ("CPLE"), which no other SQLite file has."""

BUCKET_MS = 900_000
"""Length of a roll-up bucket: every time zone's offset from UTC is a multiple of it."""

NEVER_CLAIMED, CLAIMED, RESTORED = 0, 1, 2
"""Stages of a proxy's history, in ``history_stage``."""


_PRICE_FEED = """
-- Prices of models that came out after this version, each since the moment at which it was first seen (0: the first).
create table feed_price (
    section text not null,
    model text not null,
    since_ms integer not null,
    tariff text not null,
    primary key (section, model, since_ms)
) without rowid;
create table feed_state (id integer primary key check (id = 1), fetched_ms integer not null);
"""

_LIMITS = """
-- Manual resets of configured limits.
create table limit_anchor (limit_id text primary key, anchor_ms integer not null) without rowid;
-- Sessions of configured limits, by what has a window of its own. Nothing before `ended_ms` opens one any more;
-- `started_ms` is null while none is open.
create table limit_session (
    limit_id text not null,
    scope text not null,
    ended_ms integer not null,
    started_ms integer,
    primary key (limit_id, scope)
) without rowid;
-- The last reading of each window that a provider reports. `scope` is empty for all models.
create table quota_window (
    credential integer not null references credential,
    window text not null,
    scope text not null,
    window_seconds integer,
    used_ratio real not null,
    resets_ms integer,
    status text not null,
    observed_ms integer not null,
    source text not null,
    inferred integer not null,
    early_resets integer not null,
    primary key (credential, window, scope)
) without rowid;
"""

_SNAPSHOTS = """
-- Estimated records that the proxy counted and that never arrived; restarts of the proxy that were noticed.
alter table proxy add column missed integer not null default 0;
alter table proxy add column restarts integer not null default 0;
-- The last good snapshot of /usage: when it was taken, by the proxy's clock, and what each of its series was.
-- `length` and `sha256` are of its details without the closing bracket, null where the proxy sends none.
alter table proxy add column snapshot_ms integer;
create table snapshot_series (
    proxy integer not null references proxy,
    client text not null,
    model text not null,
    requests integer not null,
    tokens integer not null,
    length integer,
    sha256 blob,
    primary key (proxy, client, model)
) without rowid;
-- Series of a snapshot without details whose sudden first value was not believed.
create table false_start (
    id integer primary key autoincrement,
    proxy integer not null references proxy,
    at_ms integer not null,
    client integer not null references client,
    model text not null,
    requests integer not null,
    tokens integer not null,
    nano_usd integer not null
);
"""

_LOSSES = """
-- Received records that stand for no attempt of their own, such as the extra record of Codex' image tool.
alter table proxy add column extra integer not null default 0;
-- When the estimate in `missed` last grew.
alter table proxy add column missed_ms integer;
-- Gaps between polls that were longer than the proxy keeps a record: their number, and the last one.
alter table proxy add column retention_gaps integer not null default 0;
alter table proxy add column gap_ms integer;
alter table proxy add column gap_seconds integer;
-- The comparison of the proxy's counts with what arrived, as JSON: see exporter/sources/loss_detection.py.
alter table proxy add column watch text;
-- Records of a credential that arrived and stand for an attempt.
alter table credential add column records integer not null default 0;
"""

_COUNTED = """
-- The span, by the proxy's clock, in which it sent no details, so that its counts were booked instead.
alter table proxy add column counted_from_ms integer;
alter table proxy add column counted_until_ms integer;
"""

_HISTORY = """
-- When this ledger was made; null for one that had been used before this column came.
alter table installation add column made_ms integer;
update installation set made_ms = 1000 * cast(strftime('%s', 'now') as integer) where not exists (select 1 from proxy);
-- Which project the history is in. Entries of a proxy up to `history_sent` are there, or were set aside.
-- `history_stage` is 0 until this ledger first claims the proxy's name, 1 while what is there is taken over, then 2.
-- Entries that came from there have negative ids, so they are behind every cursor.
alter table installation add column history_project text;
alter table proxy add column history_sent integer not null default 0;
alter table proxy add column history_stage integer not null default 0;
-- Entries that the database there refuses.
create table set_aside (
    entry integer primary key,
    proxy integer not null references proxy,
    reason text not null,
    at_ms integer not null
);
-- Rows of the table rate_limit_configs there, as JSON.
create table limit_config (id integer primary key, row text not null);
-- How far taking over what stands there has come, as JSON, while that goes on: see restoring.py.
alter table proxy add column history_restore text;
-- The last snapshot of a proxy that the history knows of, until the next look at one: see snapshots.py.
alter table proxy add column restored_snapshot_ms integer;
create table restored_series (
    proxy integer not null references proxy,
    client text not null,
    model text not null,
    requests integer not null,
    tokens integer not null,
    length integer,
    sha256 blob,
    primary key (proxy, client, model)
) without rowid;
-- What the series of a proxy without details were at the first contact, until it is known what they were before.
create table first_series (
    proxy integer not null references proxy,
    key text not null,
    client text not null,
    model text not null,
    requests integer not null,
    tokens integer not null,
    at_ms integer not null,
    primary key (proxy, key, model)
) without rowid;
"""

_RESTARTS = """
-- The kind of source that was read last: queue or snapshot.
alter table proxy add column source text;
update proxy set source = iif(snapshot_ms is null, 'queue', 'snapshot') where last_success_ms is not null;
-- How many restarts of the proxy were known when a witness of them looked last: see restarts.py.
create table restart_witness (
    proxy integer not null references proxy,
    witness text not null,
    restarts integer not null,
    primary key (proxy, witness)
) without rowid;
-- All have looked at what was known so far: else the first change would count once for each of them.
insert into restart_witness (proxy, witness, restarts)
select p.id, w.column1, p.restarts from proxy p, (values ('inventory'), ('snapshot'), ('source')) w
where p.last_success_ms is not null;
"""

_SCRAPERS = """
-- The scrapers that were answered lately, as hashes: see scrapers.py.
create table scraper (id text primary key) without rowid;
"""

_READINGS = """
-- More about a row of quota_window: whether its share was concluded from a refusal, and a fall that the next reading
-- has to confirm: from which share, and ahead of which reset.
create table quota_detail (
    credential integer not null references credential,
    window text not null,
    scope text not null,
    ratio_inferred integer not null,
    fell_from real,
    fell_reset_ms integer,
    primary key (credential, window, scope)
) without rowid;
-- Two names of one window.
update or replace quota_window set scope = 'fable' where scope = 'oi';
"""

_POP_MARK = """
-- When a stop met a pop whose whole answer has not arrived since; and `gap_seconds` is null where a pop was cut.
alter table proxy add column pop_marked_ms integer;
"""

_CHECKSUMS = """
-- By table, the sum over its rows of a number for each: see checksums.py.
create table checksum (name text primary key, value integer not null) without rowid;
"""

_IDENTITY = """
-- Whether the proxy last listed another credential of the same name, and not this one.
alter table credential add column retired integer not null default 0;
-- Credentials that turned out to be one are compared with the proxy's counts as one, from now on.
update proxy set watch = null;
"""

_ENTRIES = """
-- How many entries there are beyond those that were booked: those from the history, less those that were deleted.
alter table installation add column unbooked_entries integer not null default 0;
update installation set unbooked_entries
    = (select count(*) from entry) - (select coalesce(sum(booked), 0) from proxy);
"""

_NOTICES = """
-- What people were told of a limit's window; labels as a JSON list in the order of LIMIT_LABELS.
create table notice (
    labels text primary key, level text not null, early integer not null, reset_ms integer
) without rowid;
"""

_CAPACITY = """
-- Past readings of the windows that providers report: see quota_points.py.
create table quota_point (
    credential integer not null references credential,
    window text not null,
    scope text not null,
    observed_ms integer not null,
    used_ratio real not null,
    resets_ms integer not null,
    primary key (credential, window, scope, observed_ms)
) without rowid;
-- How often 100 % of such a window became less, and more.
create table quota_change (
    credential integer not null references credential,
    window text not null,
    scope text not null,
    shrank integer not null,
    grew integer not null,
    primary key (credential, window, scope)
) without rowid;
"""

_READABLE = """
-- What a credential is shown as without an alias; empty where that is `label`, which names it in the history.
alter table credential add column readable text not null default '';
"""

_DAYS = """
-- The roll-up summed by local days: `day` is the first bucket of one. Made of the roll-up, behind it: see day_sums.py.
create table day_rollup (
    day integer not null,
    series integer not null references series,
    billing integer not null,
    requests integer not null,
    failed integer not null,
    input integer not null,
    cache_read integer not null,
    cache_write integer not null,
    output integer not null,
    unclassified integer not null,
    nano_usd integer not null,
    primary key (day, series, billing)
) without rowid;
-- The buckets that the rows of a day hold: from its first one up to `until_bucket`, which is not in them.
create table summed_day (day integer primary key, until_bucket integer not null);
-- Failures are few, so this costs booking nothing and finds the last of them at once.
create index entry_failed on entry (ts_ms) where code <> '';
"""

_QUOTA_ASKS = """
-- By question about an account, when its provider was last asked and may be asked again: see quotas/pacing.py.
create table quota_ask (
    credential integer not null references credential,
    question integer not null,
    asked_ms integer not null,
    next_ms integer not null,
    lane_ms integer not null,
    way integer not null,
    result text not null,
    failures integer not null,
    primary key (credential, question)
) without rowid;
-- What a provider told of an account besides its windows, as JSON: see quotas/told.py.
create table quota_account (credential integer primary key references credential, told text not null);
-- Of a cap on money, what is spent of how much.
alter table quota_detail add column used_nano_usd integer;
alter table quota_detail add column limit_nano_usd integer;
"""

_DEAREST = """
-- The dearest entry among those that a row sums, so that the dearest requests of a month are found at once.
alter table rollup add column dearest integer not null default 0;
update rollup set dearest = e.dearest
from (select ts_ms / 900000 as bucket, series, basis, billing, max(iif(counted, nano_usd, 0)) as dearest from entry
      group by 1, 2, 3, 4) e
where rollup.bucket = e.bucket and rollup.series = e.series and rollup.basis = e.basis and rollup.billing = e.billing;
"""

_DAY_TOTALS = """
-- Days summed from now on also have the sums over all series, as those of series 0.
delete from summed_day;
"""

MIGRATIONS = (
    INITIAL,
    _PRICE_FEED,
    _LIMITS,
    _SNAPSHOTS,
    _LOSSES,
    _COUNTED,
    _HISTORY,
    _RESTARTS,
    _SCRAPERS,
    _READINGS,
    _POP_MARK,
    _CHECKSUMS,
    _IDENTITY,
    _ENTRIES,
    _NOTICES,
    _CAPACITY,
    _READABLE,
    _DAYS,
    _QUOTA_ASKS,
    _DEAREST,
    _DAY_TOTALS,
)
"""``MIGRATIONS[n]`` leads from schema version n to n + 1."""
