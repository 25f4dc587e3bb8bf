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
