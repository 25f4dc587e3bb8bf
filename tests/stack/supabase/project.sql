-- An empty database as a hosted project has it.
alter schema public owner to project_owner;
grant usage on schema public to anon, authenticated, service_role;
create schema auth authorization project_owner;
grant usage on schema auth to anon, authenticated, service_role;
create function auth.role() returns text language sql stable
    as $$ select nullif(current_setting('request.jwt.claim.role', true), '') $$;
