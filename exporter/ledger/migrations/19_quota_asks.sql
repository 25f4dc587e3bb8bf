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
