-- A sign of the hash key that names the clients in snapshot_series. Null: a version before this one named them.
alter table proxy add column marks_key text;
