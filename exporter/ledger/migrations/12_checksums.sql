-- By table, the sum over its rows of a number for each: see checksums.py.
create table checksum (name text primary key, value integer not null) without rowid;
