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
