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
