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
