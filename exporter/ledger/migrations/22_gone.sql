-- 1 for a credential that the proxy's last whole inventory did not list.
alter table credential add column gone integer not null default 0;
