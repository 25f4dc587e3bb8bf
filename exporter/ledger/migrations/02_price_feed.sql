-- Prices of models that came out after this version, each since the moment at which it was first seen (0: the first).
create table feed_price (
    section text not null,
    model text not null,
    since_ms integer not null,
    tariff text not null,
    primary key (section, model, since_ms)
) without rowid;
create table feed_state (id integer primary key check (id = 1), fetched_ms integer not null);
