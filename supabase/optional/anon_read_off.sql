-- Takes back what anon_read.sql gave: nobody can read the six tables with the publishable key any more.
do $$
declare
    name text;
begin
    foreach name in array array['usage_snapshots', 'model_usage', 'daily_stats', 'model_pricing', 'rate_limit_configs',
                                'rate_limit_status']
    loop
        execute format('drop policy if exists "cliproxy: anon may read" on public.%I', name);
        execute format('revoke select on public.%I from anon', name);
    end loop;
end $$;
