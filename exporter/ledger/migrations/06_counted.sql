-- The span, by the proxy's clock, in which it sent no details, so that its counts were booked instead.
alter table proxy add column counted_from_ms integer;
alter table proxy add column counted_until_ms integer;
