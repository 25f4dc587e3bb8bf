create table proxy (
    id integer primary key,
    name text not null unique,
    received integer not null default 0,
    replayed integer not null default 0,
    booked integer not null default 0,
    duplicate integer not null default 0,
    backfilled integer not null default 0,
    last_success_ms integer,
    pruned_before_ms integer,
    refusal text
);
-- One row. `salt` keys what must not depend on the hash key, which a user may lose or change.
create table installation (salt blob not null);
insert into installation values (randomblob(32));
-- A popped body, redacted, until it is booked: the proxy has forgotten it. `lines`: see packing.py.
-- `replayed` is 1 for records that were rejected before and are tried again.
create table batch (
    id integer primary key autoincrement,
    proxy integer not null references proxy,
    received_ms integer not null,
    replayed integer not null,
    records integer not null,
    lines blob not null
);
-- Wire records that could not be booked. `line` is null for what could not be redacted.
create table rejected (
    id integer primary key autoincrement,
    proxy integer not null references proxy,
    received_ms integer not null,
    reason text not null,
    detail text not null,
    line blob,
    length integer not null,
    sha256 blob not null
);
create table rejected_total (
    proxy integer not null references proxy,
    reason text not null,
    records integer not null,
    primary key (proxy, reason)
) without rowid;

-- Labels. `label` is what is shown for whoever has no alias; it is made once and never changes.
create table client (id integer primary key, pseudonym text not null unique, label text not null);
create table credential (
    id integer primary key,
    proxy integer not null references proxy,
    label text not null,
    provider text not null,
    billing integer not null,
    openai_compatible integer not null,
    merged_into integer references credential,
    success_seen integer,
    failed_seen integer,
    success integer not null default 0,
    failed integer not null default 0
);
-- What identifies a credential: its auth_index, or the pseudonym of its file name or of its key at a provider.
create table credential_key (
    proxy integer not null references proxy,
    kind text not null,
    value text not null,
    credential integer not null references credential,
    primary key (proxy, kind, value)
) without rowid;
-- What else a credential is called, for aliases: an e-mail address or a key can be that of several credentials.
create table credential_name (
    kind text not null,
    value text not null,
    credential integer not null references credential,
    primary key (kind, value, credential)
) without rowid;
create table route (
    id integer primary key,
    proxy integer not null references proxy,
    provider text not null,
    model text not null,
    unique (proxy, provider, model)
);
-- One row per label set that occurred. `shown` is the row named `other` under which it is exported, null for itself.
create table series (
    id integer primary key,
    route integer not null references route,
    credential integer not null references credential,
    client integer not null references client,
    shown integer references series,
    unique (route, credential, client)
);
create table price (id integer primary key, price text not null unique);

-- One row per usage record. The identity is led by time, so inserts land at the right edge of its index. `id` is the
-- order of booking and is never reused (autoincrement), so that a cursor over it stays true when rows are pruned.
create table entry (
    id integer primary key autoincrement,
    ts_ms integer not null,
    fingerprint integer not null,
    series integer not null references series,
    price integer not null references price,
    basis integer not null,
    billing integer not null,
    live integer not null,
    counted integer not null,
    code text not null,
    unpriced text not null,
    latency_ms integer not null,
    ttft_ms integer not null,
    uncached integer not null,
    cache_read integer not null,
    cache_write integer not null,
    output integer not null,
    reasoning integer not null,
    unclassified integer not null,
    nano_usd integer not null,
    unique (ts_ms, fingerprint)
);

-- Sums over live entries, never pruned: what the exported counters show.
create table total (
    series integer not null references series,
    basis integer not null,
    billing integer not null,
    requests integer not null,
    uncached integer not null,
    cache_read integer not null,
    cache_write integer not null,
    output integer not null,
    reasoning integer not null,
    unclassified integer not null,
    nano_usd integer not null,
    primary key (series, basis, billing)
) without rowid;
create table failed_total (
    route integer not null references route,
    credential integer not null references credential,
    code text not null,
    requests integer not null,
    primary key (route, credential, code)
) without rowid;
create table unpriced_total (
    route integer not null references route,
    reason text not null,
    requests integer not null,
    primary key (route, reason)
) without rowid;
create table latency_histogram (
    route integer primary key references route,
    observations integer not null,
    sum_ms integer not null,
    le_500 integer not null, le_1000 integer not null, le_2500 integer not null, le_5000 integer not null, le_10000 integer not null, le_20000 integer not null, le_30000 integer not null, le_60000 integer not null, le_120000 integer not null, le_300000 integer not null, le_600000 integer not null
);
create table ttft_histogram (
    route integer primary key references route,
    observations integer not null,
    sum_ms integer not null,
    le_100 integer not null, le_250 integer not null, le_500 integer not null, le_1000 integer not null, le_2000 integer not null, le_4000 integer not null, le_8000 integer not null, le_15000 integer not null, le_30000 integer not null, le_60000 integer not null
);

-- Sums over all entries in quarters of an hour (UTC): any local day, of any zone and any length, is a sum of them.
-- `failed` and `unpriced` are requests.
create table rollup (
    bucket integer not null,
    series integer not null references series,
    basis integer not null,
    billing integer not null,
    requests integer not null,
    uncached integer not null,
    cache_read integer not null,
    cache_write integer not null,
    output integer not null,
    reasoning integer not null,
    unclassified integer not null,
    nano_usd integer not null,
    failed integer not null,
    unpriced integer not null,
    primary key (bucket, series, basis, billing)
) without rowid;

-- Exported series that Prometheus has not been shown yet at 0 for long enough.
create table birth (key text primary key) without rowid;
