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
