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
