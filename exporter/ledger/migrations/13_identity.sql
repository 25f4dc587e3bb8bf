-- Whether the proxy last listed another credential of the same name, and not this one.
alter table credential add column retired integer not null default 0;
-- Credentials that turned out to be one are compared with the proxy's counts as one, from now on.
update proxy set watch = null;
