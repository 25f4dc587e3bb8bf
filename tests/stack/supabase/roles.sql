-- The roles of a hosted project, and the owner of its tables, who is no superuser.
create role anon nologin noinherit;
create role authenticated nologin noinherit;
create role service_role nologin noinherit bypassrls;
create role authenticator login noinherit;
create role project_owner login;
grant anon, authenticated, service_role to authenticator;
