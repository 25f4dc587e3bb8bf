-- When a stop met a pop whose whole answer has not arrived since; and `gap_seconds` is null where a pop was cut.
alter table proxy add column pop_marked_ms integer;
