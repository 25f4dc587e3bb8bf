-- What a credential is shown as without an alias; empty where that is `label`, which names it in the history.
alter table credential add column readable text not null default '';
