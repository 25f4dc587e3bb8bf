-- Received records that stand for no attempt of their own, such as the extra record of Codex' image tool.
alter table proxy add column extra integer not null default 0;
-- When the estimate in `missed` last grew.
alter table proxy add column missed_ms integer;
-- Gaps between polls that were longer than the proxy keeps a record: their number, and the last one.
alter table proxy add column retention_gaps integer not null default 0;
alter table proxy add column gap_ms integer;
alter table proxy add column gap_seconds integer;
-- The comparison of the proxy's counts with what arrived, as JSON: see exporter/sources/loss_detection.py.
alter table proxy add column watch text;
-- Records of a credential that arrived and stand for an attempt.
alter table credential add column records integer not null default 0;
