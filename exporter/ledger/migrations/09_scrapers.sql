-- The scrapers that were answered lately, as hashes: see scrapers.py.
create table scraper (id text primary key) without rowid;
