-- How many entries there are beyond those that were booked: those from the history, less those that were deleted.
alter table installation add column unbooked_entries integer not null default 0;
update installation set unbooked_entries
    = (select count(*) from entry) - (select coalesce(sum(booked), 0) from proxy);
