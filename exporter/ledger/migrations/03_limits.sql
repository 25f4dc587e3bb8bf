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
