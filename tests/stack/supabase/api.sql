-- The server logs in as authenticator, as on a hosted project, so the migrations' own grants decide. It can only see the
-- columns of tables on which that role holds some privilege.
grant references on all tables in schema public to authenticator;
grant select on all sequences in schema public to authenticator;
