-- Optional, not a migration: lets everybody who has the publishable key READ the predecessor's six tables, as its
-- front end needs it.
--
-- Know what this means. The publishable key is in the page that the front end serves, so whoever can open that page can
-- read all rows of these tables: who used which model how much, and what it cost. Rows of the predecessor hold your
-- clients' raw API keys (model_usage.api_endpoint, daily_stats.breakdown, usage_snapshots.raw_data) and account names.
-- Clean or delete these rows first: docs/supabase-deleting.md has the statements. Nobody can write, and the exporter's
-- own tables and credential_usage_summary stay closed.
--
-- To take it back, run anon_read_off.sql.
do $$
declare
    name text;
begin
    foreach name in array array['usage_snapshots', 'model_usage', 'daily_stats', 'model_pricing', 'rate_limit_configs',
                                'rate_limit_status']
    loop
        execute format('drop policy if exists "cliproxy: anon may read" on public.%I', name);
        execute format('create policy "cliproxy: anon may read" on public.%I for select to anon using (true)', name);
        execute format('grant select on public.%I to anon', name);
    end loop;
end $$;

grant usage on schema public to anon;
