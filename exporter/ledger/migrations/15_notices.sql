-- What people were told of a limit's window; labels as a JSON list in the order of LIMIT_LABELS.
create table notice (
    labels text primary key, level text not null, early integer not null, reset_ms integer
) without rowid;
