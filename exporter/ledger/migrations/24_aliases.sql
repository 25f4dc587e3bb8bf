-- The client's alias, and a sign of the hash key behind the pseudonyms of all clients that have one. Null: none noted.
alter table client add column alias text;
alter table installation add column aliases_key text;
