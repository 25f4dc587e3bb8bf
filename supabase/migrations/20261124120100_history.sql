-- The exporter's own tables, and the functions through which it writes.
--
-- What keeps the figures right:
-- * A record is a row of usage_records, and its identity is the primary key. Sums grow by the rows that an insert really
--   made, in the same transaction, so a batch that is sent twice adds nothing.
-- * A day of daily_stats is computed anew from these sums, in that transaction too. Days of which records have been
--   deleted, and days from before the switch, are frozen. The row itself tells what of it is the exporter's.
-- * Every proxy has one owner, who alone writes under its name until it is given back. Its row is locked while something
--   of it is written, so nothing of one proxy happens twice at once; rows of several proxies are locked in a fixed order.
-- * Money is in whole billionths of a US dollar (nano_usd), so sums are exact.
-- * Clients and credentials are stored under the exporter's pseudonymous labels. No column is meant for a key, an e-mail
--   address or a header.
-- Running this again changes nothing.

-- --- tables ----------------------------------------------------------------------------------------------------------

-- One row: where the older collector's figures end. Made by the first claim, never changed.
create table if not exists public.exporter_project (
    id integer primary key default 1 check (id = 1),
    switched_at timestamptz not null,
    -- The last row of the older collector in usage_snapshots: its counters go on from there.
    old_snapshot_at timestamptz,
    old_requests bigint not null default 0,
    old_success bigint not null default 0,
    old_failure bigint not null default 0,
    old_tokens bigint not null default 0
);

-- The proxies, each claimed by one exporter (a random id of its data directory). A name that was given back is free for
-- whoever claims it next; until then its owner is the one who had it.
create table if not exists public.exporter_proxies (
    name text primary key check (name <> ''),
    owner text not null check (owner <> ''),
    given_back boolean not null default false,
    -- Tells whether another exporter reads the same proxy; empty if it has no management key.
    sign text,
    claimed_at timestamptz not null default now(),
    seen_at timestamptz not null default now(),
    -- Records of earlier days have been deleted; what comes late for such a day is refused.
    pruned_before date not null default '-infinity'
);

-- What was used to price a record, as the exporter describes it; the id is the md5 of the text.
create table if not exists public.usage_prices (
    id uuid primary key,
    price text not null
);

-- One row per upstream attempt. `day` is its calendar day in the exporter's time zone. Token columns are exclusive, but
-- `reasoning` is a part of `output`. `requests` is 0 for what is no request of a user. `code` is empty for a success.
create table if not exists public.usage_records (
    proxy text not null references public.exporter_proxies (name),
    ts timestamptz not null,
    fingerprint bigint not null,
    day date not null,
    provider text not null,
    model text not null,
    credential text not null,
    client text not null,
    price uuid not null references public.usage_prices (id),
    basis text not null check (basis in ('exact', 'default')),
    billing text not null check (billing in ('metered', 'subscription', 'unknown')),
    live boolean not null,
    requests bigint not null check (requests >= 0),
    code text not null,
    unpriced text not null,
    latency_ms bigint not null check (latency_ms >= 0),
    ttft_ms bigint not null check (ttft_ms >= 0),
    uncached bigint not null check (uncached >= 0),
    cache_read bigint not null check (cache_read >= 0),
    cache_write bigint not null check (cache_write >= 0),
    output bigint not null check (output >= 0),
    reasoning bigint not null check (reasoning >= 0),
    unclassified bigint not null check (unclassified >= 0),
    nano_usd bigint not null check (nano_usd >= 0),
    primary key (proxy, ts, fingerprint),
    -- No time zone is further than that from UTC.
    constraint usage_records_day_check check (day - (ts at time zone 'UTC')::date between -1 and 1)
);
create index if not exists usage_records_day_idx on public.usage_records (day);

-- Sums of all records ever written, in quarters of an hour (UTC): what is left of deleted ones. `failed` and `unpriced`
-- are requests.
create table if not exists public.usage_rollups (
    proxy text not null references public.exporter_proxies (name),
    bucket timestamptz not null check (bucket = date_bin('15 minutes', bucket, 'epoch')),
    provider text not null,
    model text not null,
    credential text not null,
    client text not null,
    basis text not null,
    billing text not null,
    requests bigint not null,
    failed bigint not null,
    unpriced bigint not null,
    uncached bigint not null,
    cache_read bigint not null,
    cache_write bigint not null,
    output bigint not null,
    reasoning bigint not null,
    unclassified bigint not null,
    nano_usd bigint not null,
    primary key (proxy, bucket, provider, model, credential, client, basis, billing)
);

-- Sums of all records ever written, by day, client and model: what daily_stats is made of.
create table if not exists public.usage_days (
    day date not null,
    proxy text not null references public.exporter_proxies (name),
    client text not null,
    model text not null,
    requests bigint not null,
    failed bigint not null,
    input_tokens bigint not null,
    output_tokens bigint not null,
    unclassified_tokens bigint not null,
    nano_usd bigint not null,
    primary key (day, proxy, client, model)
);

-- Sums of all records since the older collector's last poll, by client and model: what the cumulative rows of
-- usage_snapshots and model_usage are made of.
create table if not exists public.usage_totals (
    proxy text not null references public.exporter_proxies (name),
    client text not null,
    model text not null,
    requests bigint not null,
    failed bigint not null,
    tokens bigint not null,
    input_tokens bigint not null,
    output_tokens bigint not null,
    nano_usd bigint not null,
    primary key (proxy, client, model)
);

-- What the older collector's last rows of model_usage counted, under the client's label instead of its key.
create table if not exists public.usage_totals_old (
    client text not null,
    model text not null,
    requests bigint not null,
    tokens bigint not null,
    input_tokens bigint not null,
    output_tokens bigint not null,
    cost_usd numeric not null,
    primary key (client, model)
);

-- How clients and credentials are shown: an alias, else the label itself.
create table if not exists public.exporter_labels (
    proxy text not null references public.exporter_proxies (name),
    kind text not null check (kind in ('client', 'credential')),
    label text not null,
    shown text not null,
    primary key (proxy, kind, label)
);

-- The days that the exporter has written to in daily_stats.
create table if not exists public.exporter_days (
    day date primary key,
    -- Not null: a row of the older collector is there, and only records from this moment on are added to it.
    since timestamptz,
    -- What has been added to that row so far.
    added jsonb not null default '{}',
    -- Why the day is not computed anew any more: `before_switch` or `pruned`.
    frozen text check (frozen in ('before_switch', 'pruned'))
);

-- The last reading of each window that a provider reports.
create table if not exists public.quota_readings (
    proxy text not null references public.exporter_proxies (name),
    credential text not null,
    quota text not null,
    scope text not null,
    window_seconds bigint,
    used_ratio double precision not null,
    resets_at timestamptz,
    status text not null,
    observed_at timestamptz not null,
    source text not null,
    inferred boolean not null,
    early_resets bigint not null,
    primary key (proxy, credential, quota, scope)
);

-- What a lost data directory is restored from, besides the records: one JSON document for each kind of state, and what
-- each series of a proxy's /usage was when it was last read. `client` is a pseudonym.
create table if not exists public.exporter_checkpoints (
    proxy text not null references public.exporter_proxies (name),
    kind text not null,
    value jsonb not null,
    updated_at timestamptz not null default now(),
    primary key (proxy, kind)
);
create table if not exists public.exporter_baselines (
    proxy text not null references public.exporter_proxies (name),
    client text not null,
    model text not null,
    requests bigint not null,
    tokens bigint not null,
    length bigint,
    sha256 text,
    primary key (proxy, client, model)
);

-- --- small helpers ---------------------------------------------------------------------------------------------------

-- Which functions there are: the exporter asks before it writes.
create or replace function public.exporter_schema_version() returns integer
language sql immutable set search_path = '' as 'select 1';

create or replace function public.exporter_usd(nano numeric) returns numeric
language sql immutable set search_path = '' as 'select trim_scale(nano * 0.000000001)';

-- Locks the row of a proxy and refuses everybody but its owner.
create or replace function public.exporter_hold(p_proxy text, p_owner text) returns public.exporter_proxies
language plpgsql set search_path = '' as $$
declare
    held public.exporter_proxies;
begin
    update public.exporter_proxies set seen_at = now()
    where name = p_proxy and owner = p_owner and not given_back
    returning * into held;
    if held.name is null then
        raise exception 'proxy_not_claimed' using
            detail = format('The proxy name %s is not claimed by this exporter.', p_proxy);
    end if;
    return held;
end $$;

-- `current` + `new` - `old`, number by number, key by key. A key that only `old` has goes if nothing is left of it.
create or replace function public.exporter_replace(current jsonb, old jsonb, new jsonb) returns jsonb
language plpgsql immutable set search_path = '' as $$
declare
    result jsonb := '{}';
    name text;
    value jsonb;
begin
    if 'object' not in (coalesce(jsonb_typeof(current), ''), coalesce(jsonb_typeof(new), '')) then
        return to_jsonb(
            case jsonb_typeof(current) when 'number' then current::numeric else 0 end
            - case jsonb_typeof(old) when 'number' then old::numeric else 0 end
            + case jsonb_typeof(new) when 'number' then new::numeric else 0 end);
    end if;
    if jsonb_typeof(current) is distinct from 'object' then
        return new;
    end if;
    if jsonb_typeof(new) is distinct from 'object' then
        new := '{}';
    end if;
    if jsonb_typeof(old) is distinct from 'object' then
        old := '{}';
    end if;
    for name in select jsonb_object_keys(current) union select jsonb_object_keys(new) loop
        if not new ? name and not old ? name then
            value := current -> name;
        else
            value := public.exporter_replace(current -> name, old -> name, new -> name);
            continue when not new ? name and value in ('0', '{}');
        end if;
        result := result || jsonb_build_object(name, value);
    end loop;
    return result;
end $$;

-- What the records of a day add up to, in the shape of daily_stats: all of them, from the sums that grow with each
-- booking, or those from `p_since` on, one by one.
create or replace function public.exporter_day_sums(p_day date, p_since timestamptz) returns jsonb
language sql stable set search_path = '' as $$
    with used as (
        select proxy, client, model, requests, failed, input_tokens, output_tokens, unclassified_tokens, nano_usd
        from public.usage_days
        where p_since is null and day = p_day
        union all
        select proxy, client, model, requests, case when code <> '' then requests else 0 end,
               uncached + cache_read + cache_write, output, unclassified, nano_usd
        from public.usage_records
        where p_since is not null and day = p_day and ts >= p_since
    ),
    sums as (
        select u.model,
               -- The older front end shows what follows the last slash.
               replace(coalesce(l.shown, u.client), '/', '-') as client,
               sum(u.requests) as requests, sum(u.failed) as failed, sum(u.input_tokens) as input,
               sum(u.output_tokens) as output, sum(u.unclassified_tokens) as unclassified, sum(u.nano_usd) as nano
        from used u
        left join public.exporter_labels l on l.proxy = u.proxy and l.kind = 'client' and l.label = u.client
        group by 1, 2
    ),
    models as (
        select jsonb_object_agg(model, jsonb_build_object(
            'requests', requests, 'tokens', input + output + unclassified, 'cost', public.exporter_usd(nano),
            'input_tokens', input, 'output_tokens', output)) as object
        from (select model, sum(requests) as requests, sum(input) as input, sum(output) as output,
                     sum(unclassified) as unclassified, sum(nano) as nano
              from sums group by model) m
    ),
    endpoints as (
        select jsonb_object_agg(client, jsonb_build_object(
            'requests', requests, 'tokens', tokens, 'cost', public.exporter_usd(nano), 'models', models)) as object
        from (select client, sum(requests) as requests, sum(input + output + unclassified) as tokens,
                     sum(nano) as nano,
                     jsonb_object_agg(model, jsonb_build_object(
                         'requests', requests, 'tokens', input + output + unclassified,
                         'cost', public.exporter_usd(nano))) as models
              from sums group by client) c
    )
    select jsonb_build_object(
        'total_requests', coalesce(sum(requests), 0),
        'success_count', coalesce(sum(requests - failed), 0),
        'failure_count', coalesce(sum(failed), 0),
        'total_tokens', coalesce(sum(input + output + unclassified), 0),
        'estimated_cost_usd', public.exporter_usd(coalesce(sum(nano), 0)),
        'breakdown', jsonb_build_object(
            'models', coalesce((select object from models), '{}'),
            'endpoints', coalesce((select object from endpoints), '{}')))
    from sums
$$;

-- Computes days of daily_stats anew. Callers must have written the records before.
create or replace function public.exporter_recompute(p_days date[]) returns void
language plpgsql set search_path = '' as $$
declare
    last_old_poll timestamptz;
    touched public.exporter_days;
    sums jsonb;
    part jsonb;
    before jsonb;
begin
    -- By itself, so that the index of collected_at answers: there may be years of these rows.
    select max(collected_at) into last_old_poll from public.usage_snapshots where slot is null;
    if last_old_poll is null then
        select switched_at into last_old_poll from public.exporter_project;
    end if;
    -- A row of the older collector stays as it is if its day was over, in every time zone, at the last poll of that. To
    -- others the records since that poll are added. A row that the exporter wrote, before its own tables were removed or
    -- emptied, tells so.
    insert into public.exporter_days (day, since, added, frozen)
    select d.day,
           case when s.exporter_part is not null then (s.exporter_part ->> 'since')::timestamptz
                when s.stat_date is not null then last_old_poll end,
           coalesce(s.exporter_part -> 'added', '{}'),
           case when s.stat_date is not null and s.exporter_part is null
                     and (d.day + 1)::timestamp at time zone 'UTC' + interval '12 hours' <= last_old_poll
                then 'before_switch' end
    from (select distinct unnest(p_days) as day) d
    left join public.daily_stats s on s.stat_date = d.day
    order by d.day
    on conflict (day) do nothing;

    for touched in
        select * from public.exporter_days where day = any (p_days) order by day for update
    loop
        continue when touched.frozen is not null;
        sums := public.exporter_day_sums(touched.day, touched.since);
        part := jsonb_build_object('since', touched.since);
        if touched.since is not null then
            -- A row to which nothing is to be added is not touched.
            continue when touched.added = '{}' and sums #> '{breakdown,models}' = '{}';
            update public.exporter_days set added = sums where day = touched.day;
            part := part || jsonb_build_object('added', sums);
            select jsonb_build_object(
                'total_requests', total_requests, 'success_count', success_count, 'failure_count', failure_count,
                'total_tokens', total_tokens, 'estimated_cost_usd', coalesce(estimated_cost_usd, 0),
                'breakdown', coalesce(breakdown, '{}'))
            into before from public.daily_stats where stat_date = touched.day for update;
            -- If the user has deleted the row in between, the older collector's share went with it.
            if before is not null then
                sums := public.exporter_replace(before, touched.added, sums);
            end if;
        end if;
        insert into public.daily_stats as s (stat_date, total_requests, success_count, failure_count, total_tokens,
                                             estimated_cost_usd, breakdown, exporter_part, updated_at)
        values (touched.day, (sums ->> 'total_requests')::integer, (sums ->> 'success_count')::integer,
                (sums ->> 'failure_count')::integer, (sums ->> 'total_tokens')::bigint,
                (sums ->> 'estimated_cost_usd')::numeric, sums -> 'breakdown', part, now())
        on conflict (stat_date) do update set
            total_requests = excluded.total_requests, success_count = excluded.success_count,
            failure_count = excluded.failure_count, total_tokens = excluded.total_tokens,
            estimated_cost_usd = excluded.estimated_cost_usd, breakdown = excluded.breakdown,
            exporter_part = excluded.exporter_part, updated_at = excluded.updated_at;
    end loop;
end $$;

-- --- what the exporter calls -----------------------------------------------------------------------------------------

-- Claims a proxy's name, or says that another exporter has it. One that was given back can be had, unless `p_own_only`:
-- then only one that nobody else has had since. One whose owner gave no sign for `p_stale_seconds` can be had, too; whether
-- that may be asked for is for the exporter to know, which is told the sign of the proxy that the owner reads. `p_sign` is
-- that of the one who asks.
create or replace function public.exporter_claim(
    p_proxy text, p_owner text, p_own_only boolean default false, p_stale_seconds integer default null,
    p_sign text default null
) returns jsonb
language plpgsql set search_path = '' as $$
declare
    held public.exporter_proxies;
    is_free boolean;
begin
    insert into public.exporter_project (switched_at, old_snapshot_at, old_requests, old_success, old_failure,
                                         old_tokens)
    select now(), s.collected_at, coalesce(s.total_requests, 0), coalesce(s.success_count, 0),
           coalesce(s.failure_count, 0), coalesce(s.total_tokens, 0)
    from (values (1)) one
    left join lateral (select * from public.usage_snapshots where slot is null
                       order by collected_at desc, id desc limit 1) s on true
    on conflict (id) do nothing;
    insert into public.model_pricing (model_pattern, input_price_per_million, output_price_per_million, provider)
    values ('_default', 0.15, 0.6, 'default')
    on conflict (model_pattern) do nothing;

    insert into public.exporter_proxies (name, owner) values (p_proxy, p_owner) on conflict (name) do nothing;
    select * into held from public.exporter_proxies where name = p_proxy for update;
    is_free := held.owner = p_owner or (not p_own_only and (
        held.given_back or coalesce(held.seen_at < now() - make_interval(secs => p_stale_seconds), false)));
    if is_free then
        update public.exporter_proxies
        set owner = p_owner, given_back = false, seen_at = now(),
            sign = case when p_own_only then held.sign else p_sign end,
            claimed_at = case when held.owner = p_owner then claimed_at else now() end
        where name = p_proxy;
    end if;
    return jsonb_build_object(
        'claimed', is_free,
        'seen_at', held.seen_at,
        'sign', held.sign,
        'pruned_before', nullif(held.pruned_before, '-infinity'));
end $$;

-- Gives a claim back, so that another exporter can have the name at once. Answers whether there was one.
create or replace function public.exporter_release(p_proxy text, p_owner text) returns boolean
language plpgsql set search_path = '' as $$
begin
    update public.exporter_proxies set given_back = true where name = p_proxy and owner = p_owner and not given_back;
    return found;
end $$;

-- Books records. May be called with the same ones any number of times.
--
-- p_rows: JSON as a text, so that nothing on the way has to read it: objects with ts_ms, fingerprint, day, provider,
--   model, credential, client, price (text), basis, billing, live, requests, code, unpriced, latency_ms, ttft_ms,
--   uncached, cache_read, cache_write, output, reasoning, unclassified, nano_usd. Integers of more than 53 bits
--   (fingerprint) as text.
-- p_labels: objects with kind, label, shown.
-- p_checkpoint: what was true when the last of these records had been booked in the ledger: {"state": {kind: document},
--   "baselines": [objects with client, model, requests, tokens, length, sha256], "gone": [objects with client, model],
--   "whole": true if "baselines" are all there are}.
-- Answers with how many rows were new (inserted), were there already (known), or belong to days whose records have been
-- deleted (refused); `frozen` of the new ones belong to days of daily_stats that are not computed any more.
create or replace function public.exporter_book(
    p_proxy text, p_owner text, p_rows text, p_labels jsonb default '[]', p_checkpoint jsonb default null
) returns jsonb
language plpgsql set search_path = '' as $$
declare
    held public.exporter_proxies := public.exporter_hold(p_proxy, p_owner);
    records jsonb := p_rows::jsonb;
    given bigint := jsonb_array_length(records);
    refused bigint;
    inserted bigint;
    frozen bigint;
    days date[];
begin
    insert into public.exporter_labels as l (proxy, kind, label, shown)
    select distinct on (kind, label) p_proxy, kind, label, shown
    from jsonb_to_recordset(p_labels) as r (kind text, label text, shown text)
    order by kind, label
    on conflict (proxy, kind, label) do update set shown = excluded.shown where l.shown <> excluded.shown;

    insert into public.usage_prices (id, price)
    select distinct md5(price)::uuid, price from jsonb_to_recordset(records) as r (price text)
    order by 1
    on conflict (id) do nothing;

    select count(*) into refused from jsonb_to_recordset(records) as r (day date) where day < held.pruned_before;

    with added as (
        insert into public.usage_records as u (
            proxy, ts, fingerprint, day, provider, model, credential, client, price, basis, billing, live, requests,
            code, unpriced, latency_ms, ttft_ms, uncached, cache_read, cache_write, output, reasoning, unclassified,
            nano_usd)
        select p_proxy, to_timestamp(ts_ms / 1000.0), fingerprint, day, provider, model, credential, client,
               md5(price)::uuid, basis, billing, live, requests, code, unpriced, latency_ms, ttft_ms, uncached,
               cache_read, cache_write, output, reasoning, unclassified, nano_usd
        from jsonb_to_recordset(records) as r (
            ts_ms bigint, fingerprint bigint, day date, provider text, model text, credential text, client text,
            price text, basis text, billing text, live boolean, requests bigint, code text, unpriced text,
            latency_ms bigint, ttft_ms bigint, uncached bigint, cache_read bigint, cache_write bigint, output bigint,
            reasoning bigint, unclassified bigint, nano_usd bigint)
        -- Not "not <": a row without a day must fail, not be left out.
        where (day < held.pruned_before) is not true
        on conflict (proxy, ts, fingerprint) do nothing
        returning *
    ),
    rolled as (
        insert into public.usage_rollups as t (
            proxy, bucket, provider, model, credential, client, basis, billing, requests, failed, unpriced, uncached,
            cache_read, cache_write, output, reasoning, unclassified, nano_usd)
        select proxy, date_bin('15 minutes', ts, 'epoch'), provider, model, credential, client, basis, billing,
               sum(requests), coalesce(sum(requests) filter (where code <> ''), 0),
               coalesce(sum(requests) filter (where unpriced <> ''), 0), sum(uncached), sum(cache_read),
               sum(cache_write), sum(output), sum(reasoning), sum(unclassified), sum(nano_usd)
        from added
        group by 1, 2, 3, 4, 5, 6, 7, 8
        on conflict (proxy, bucket, provider, model, credential, client, basis, billing) do update set
            requests = t.requests + excluded.requests, failed = t.failed + excluded.failed,
            unpriced = t.unpriced + excluded.unpriced, uncached = t.uncached + excluded.uncached,
            cache_read = t.cache_read + excluded.cache_read, cache_write = t.cache_write + excluded.cache_write,
            output = t.output + excluded.output, reasoning = t.reasoning + excluded.reasoning,
            unclassified = t.unclassified + excluded.unclassified, nano_usd = t.nano_usd + excluded.nano_usd
    ),
    dayed as (
        insert into public.usage_days as t (
            day, proxy, client, model, requests, failed, input_tokens, output_tokens, unclassified_tokens, nano_usd)
        select day, proxy, client, model, sum(requests), coalesce(sum(requests) filter (where code <> ''), 0),
               sum(uncached + cache_read + cache_write), sum(output), sum(unclassified), sum(nano_usd)
        from added
        group by 1, 2, 3, 4
        on conflict (day, proxy, client, model) do update set
            requests = t.requests + excluded.requests, failed = t.failed + excluded.failed,
            input_tokens = t.input_tokens + excluded.input_tokens,
            output_tokens = t.output_tokens + excluded.output_tokens,
            unclassified_tokens = t.unclassified_tokens + excluded.unclassified_tokens,
            nano_usd = t.nano_usd + excluded.nano_usd
    ),
    totaled as (
        insert into public.usage_totals as t (
            proxy, client, model, requests, failed, tokens, input_tokens, output_tokens, nano_usd)
        select proxy, client, model, sum(requests), coalesce(sum(requests) filter (where code <> ''), 0),
               sum(uncached + cache_read + cache_write + output + unclassified),
               sum(uncached + cache_read + cache_write), sum(output), sum(nano_usd)
        from added
        -- What the older collector has counted is in its last row, from which the counters go on.
        where ts >= coalesce((select old_snapshot_at from public.exporter_project), '-infinity')
        group by 1, 2, 3
        on conflict (proxy, client, model) do update set
            requests = t.requests + excluded.requests, failed = t.failed + excluded.failed,
            tokens = t.tokens + excluded.tokens, input_tokens = t.input_tokens + excluded.input_tokens,
            output_tokens = t.output_tokens + excluded.output_tokens, nano_usd = t.nano_usd + excluded.nano_usd
    )
    select count(*), coalesce(array_agg(day), '{}') into inserted, days from added;

    perform public.exporter_recompute(days);
    select count(*) into frozen
    from unnest(days) as r (day)
    join public.exporter_days d on d.day = r.day and d.frozen is not null;

    if p_checkpoint is not null then
        perform public.exporter_save_checkpoint(p_proxy, p_owner, p_checkpoint);
    end if;
    return jsonb_build_object('inserted', inserted, 'known', given - refused - inserted, 'refused', refused,
                              'frozen', frozen);
end $$;

-- Stores a checkpoint of its own, as exporter_book does with its records.
create or replace function public.exporter_save_checkpoint(p_proxy text, p_owner text, p_checkpoint jsonb) returns void
language plpgsql set search_path = '' as $$
begin
    perform public.exporter_hold(p_proxy, p_owner);
    insert into public.exporter_checkpoints (proxy, kind, value, updated_at)
    select p_proxy, key, value, now() from jsonb_each(coalesce(p_checkpoint -> 'state', '{}'))
    on conflict (proxy, kind) do update set value = excluded.value, updated_at = excluded.updated_at;

    if (p_checkpoint ->> 'whole')::boolean then
        delete from public.exporter_baselines where proxy = p_proxy;
    end if;
    delete from public.exporter_baselines b
    using jsonb_to_recordset(coalesce(p_checkpoint -> 'gone', '[]')) as g (client text, model text)
    where b.proxy = p_proxy and b.client = g.client and b.model = g.model;
    insert into public.exporter_baselines (proxy, client, model, requests, tokens, length, sha256)
    select p_proxy, client, model, requests, tokens, length, sha256
    from jsonb_to_recordset(coalesce(p_checkpoint -> 'baselines', '[]'))
         as r (client text, model text, requests bigint, tokens bigint, length bigint, sha256 text)
    on conflict (proxy, client, model) do update set
        requests = excluded.requests, tokens = excluded.tokens, length = excluded.length, sha256 = excluded.sha256;
end $$;

-- Stores readings of providers' windows; of two readings of a window the later one stays.
create or replace function public.exporter_save_quotas(p_proxy text, p_owner text, p_rows jsonb) returns void
language plpgsql set search_path = '' as $$
begin
    perform public.exporter_hold(p_proxy, p_owner);
    insert into public.quota_readings as q (
        proxy, credential, quota, scope, window_seconds, used_ratio, resets_at, status, observed_at, source, inferred,
        early_resets)
    select p_proxy, credential, quota, scope, window_seconds, used_ratio, to_timestamp(resets_ms / 1000.0), status,
           to_timestamp(observed_ms / 1000.0), source, inferred, early_resets
    from jsonb_to_recordset(p_rows) as r (
        credential text, quota text, scope text, window_seconds bigint, used_ratio double precision, resets_ms bigint,
        status text, observed_ms bigint, source text, inferred boolean, early_resets bigint)
    on conflict (proxy, credential, quota, scope) do update set
        window_seconds = excluded.window_seconds, used_ratio = excluded.used_ratio, resets_at = excluded.resets_at,
        status = excluded.status, observed_at = excluded.observed_at, source = excluded.source,
        inferred = excluded.inferred, early_resets = greatest(q.early_resets, excluded.early_resets)
    where q.observed_at <= excluded.observed_at;
end $$;

-- Takes over, once, what the older collector's last rows of model_usage counted. p_rows: objects with client (a label),
-- model, requests, tokens, input_tokens, output_tokens, cost_usd. Answers whether they were taken.
create or replace function public.exporter_take_over(p_proxy text, p_owner text, p_rows jsonb) returns boolean
language plpgsql set search_path = '' as $$
begin
    perform public.exporter_hold(p_proxy, p_owner);
    perform 1 from public.exporter_project for update;
    if exists (select from public.usage_totals_old) then
        return false;
    end if;
    insert into public.usage_totals_old (client, model, requests, tokens, input_tokens, output_tokens, cost_usd)
    select client, model, sum(requests), sum(tokens), sum(input_tokens), sum(output_tokens), sum(cost_usd)
    from jsonb_to_recordset(p_rows) as r (client text, model text, requests bigint, tokens bigint,
                                          input_tokens bigint, output_tokens bigint, cost_usd numeric)
    group by 1, 2;
    return found;
end $$;

-- Writes the row of usage_snapshots for the five minutes of `p_at` (at the latest now: a clock that is ahead must not bar
-- the way until then), and its rows of model_usage: counters of all proxies
-- of the project, going on from the older collector's last row. Answers with false, and writes nothing, if a later one
-- is there: counters may not fall.
create or replace function public.exporter_snapshot(p_proxy text, p_owner text, p_at timestamptz) returns boolean
language plpgsql set search_path = '' as $$
declare
    project public.exporter_project;
    moment timestamptz := least(p_at, now());
    this_slot timestamptz := date_bin('5 minutes', moment, 'epoch');
    snapshot bigint;
begin
    perform public.exporter_hold(p_proxy, p_owner);
    select * into project from public.exporter_project for update;
    if exists (select from public.usage_snapshots where slot > this_slot)
       or moment <= project.old_snapshot_at then
        return false;
    end if;
    insert into public.usage_snapshots as s (
        slot, collected_at, total_requests, success_count, failure_count, total_tokens, cumulative_cost_usd, raw_data)
    select this_slot, moment, requests, success, failure, tokens, cost,
           jsonb_build_object('usage', jsonb_build_object(
               'total_requests', requests, 'success_count', success, 'failure_count', failure, 'total_tokens', tokens))
    from (
        select project.old_requests + coalesce(sum(requests), 0) as requests,
               project.old_success + coalesce(sum(requests - failed), 0) as success,
               project.old_failure + coalesce(sum(failed), 0) as failure,
               project.old_tokens + coalesce(sum(tokens), 0) as tokens,
               public.exporter_usd(coalesce(sum(nano_usd), 0)) as cost
        from public.usage_totals
    ) t
    on conflict (slot) do update set
        collected_at = greatest(s.collected_at, excluded.collected_at), total_requests = excluded.total_requests,
        success_count = excluded.success_count, failure_count = excluded.failure_count,
        total_tokens = excluded.total_tokens, cumulative_cost_usd = excluded.cumulative_cost_usd,
        raw_data = excluded.raw_data
    returning id into snapshot;

    delete from public.model_usage where snapshot_id = snapshot;
    insert into public.model_usage (snapshot_id, api_endpoint, model_name, request_count, input_tokens, output_tokens,
                                    total_tokens, estimated_cost_usd, created_at)
    select snapshot, left(replace(client, '/', '-'), 255), left(model, 255), sum(requests), sum(input_tokens),
           sum(output_tokens), sum(tokens), sum(cost_usd), moment
    from (
        select coalesce(l.shown, t.client) as client, t.model, t.requests, t.input_tokens, t.output_tokens, t.tokens,
               public.exporter_usd(t.nano_usd) as cost_usd
        from public.usage_totals t
        left join public.exporter_labels l on l.proxy = t.proxy and l.kind = 'client' and l.label = t.client
        union all
        select coalesce((select min(l.shown) from public.exporter_labels l
                         where l.kind = 'client' and l.label = o.client), o.client),
               o.model, o.requests, o.input_tokens, o.output_tokens, o.tokens, o.cost_usd
        from public.usage_totals_old o
    ) all_clients
    group by 2, 3
    order by 2, 3;
    return true;
end $$;

-- Deletes up to `p_limit` records of a proxy that are of days before `p_before`, and freezes these days in daily_stats.
-- Answers with how many went; the caller asks again until none does.
create or replace function public.exporter_prune(
    p_proxy text, p_owner text, p_before date, p_limit integer default 5000
) returns integer
language plpgsql set search_path = '' as $$
declare
    held public.exporter_proxies := public.exporter_hold(p_proxy, p_owner);
    deleted integer;
begin
    if p_before > held.pruned_before then
        update public.exporter_proxies set pruned_before = p_before where name = p_proxy;
        insert into public.exporter_days (day, frozen)
        select distinct day, 'pruned' from public.usage_records where proxy = p_proxy and day < p_before
        order by day
        on conflict (day) do update set frozen = coalesce(public.exporter_days.frozen, excluded.frozen);
    end if;
    delete from public.usage_records
    where (proxy, ts, fingerprint) in (
        select proxy, ts, fingerprint from public.usage_records
        where proxy = p_proxy and day < p_before
        order by ts limit p_limit);
    get diagnostics deleted = row_count;
    return deleted;
end $$;

-- Deletes up to `p_limit` rows of usage_snapshots (and their rows of model_usage) that the exporter wrote before
-- `p_before`. The older collector's rows stay.
create or replace function public.exporter_prune_snapshots(p_before timestamptz, p_limit integer default 500)
returns integer
language plpgsql set search_path = '' as $$
declare
    deleted integer;
begin
    delete from public.usage_snapshots where id in (
        select id from public.usage_snapshots where slot < p_before order by slot limit p_limit);
    get diagnostics deleted = row_count;
    return deleted;
end $$;

-- Up to `p_limit` records of a proxy that follow (p_ts_ms, p_fingerprint), in the shape in which exporter_book takes them.
-- Dropped first, because a later file may have given it further columns, and replacing cannot take them away.
drop function if exists public.exporter_records(text, bigint, text, integer);
create or replace function public.exporter_records(
    p_proxy text, p_ts_ms bigint, p_fingerprint text, p_limit integer default 1000
) returns table (
    ts_ms bigint, fingerprint text, day date, provider text, model text, credential text, client text, price text,
    basis text, billing text, live boolean, requests bigint, code text, unpriced text, latency_ms bigint,
    ttft_ms bigint, uncached bigint, cache_read bigint, cache_write bigint, output bigint, reasoning bigint,
    unclassified bigint, nano_usd bigint
)
language sql stable set search_path = '' as $$
    select (extract(epoch from r.ts) * 1000)::bigint, r.fingerprint::text, r.day, r.provider, r.model, r.credential,
           r.client, p.price, r.basis, r.billing, r.live, r.requests, r.code, r.unpriced, r.latency_ms, r.ttft_ms,
           r.uncached, r.cache_read, r.cache_write, r.output, r.reasoning, r.unclassified, r.nano_usd
    from public.usage_records r
    join public.usage_prices p on p.id = r.price
    where r.proxy = p_proxy and (r.ts, r.fingerprint) > (to_timestamp(p_ts_ms / 1000.0), p_fingerprint::bigint)
    order by r.ts, r.fingerprint
    limit least(p_limit, 1000)
$$;

-- What the proxies of all other exporters used since the beginning of limits' windows, by models as rate_limit_configs
-- says. p_windows: objects with config_id, since_ms. Limits of which they used nothing are left out. `p_known`: the names
-- under which this exporter has written; what was used before another one got such a name it knows itself.
create or replace function public.exporter_limit_use(p_owner text, p_known text[], p_windows jsonb) returns table (
    config_id bigint, requests bigint, tokens bigint
)
language sql stable set search_path = '' as $$
    -- `whole` is the first quarter of an hour that has begun since: whole ones are summed already.
    with windows as materialized (
        select c.id, '%' || c.model_pattern || '%' as pattern, w.since,
               date_bin('15 minutes', w.since + interval '15 minutes' - interval '1 microsecond', 'epoch') as whole
        from (select config_id, to_timestamp(since_ms / 1000.0) as since
              from jsonb_to_recordset(p_windows) as r (config_id bigint, since_ms bigint)) w
        join public.rate_limit_configs c on c.id = w.config_id
    ),
    others as materialized (
        select name, since,
               date_bin('15 minutes', since + interval '15 minutes' - interval '1 microsecond', 'epoch') as whole
        from (select name, case when name = any (p_known) then claimed_at else 'epoch' end as since
              from public.exporter_proxies where owner <> p_owner) o
    ),
    -- The roll-up is read once, from the earliest of all beginnings on, however many limits there are: sums by model
    -- between beginnings. Proxy by proxy (lateral, with sums inside), because a join is planned as a pass through all
    -- rows.
    beginnings as materialized (
        select array_agg(distinct whole order by whole) as moments from windows
    ),
    rolled as materialized (
        select each.*
        from beginnings b
        cross join others o
        cross join lateral (
            select r.model, b.moments[width_bucket(r.bucket, b.moments)] as since, sum(r.requests) as requests,
                   sum(r.uncached + r.cache_read + r.cache_write + r.output + r.unclassified) as tokens
            from public.usage_rollups r
            where r.proxy = o.name and r.bucket >= greatest(b.moments[1], o.whole)
            group by 1, 2
        ) each
    ),
    used as (
        select w.id, r.requests, r.tokens
        from windows w
        join rolled r on r.since >= w.whole and r.model ilike w.pattern
        union all
        select w.id, each.requests, each.tokens
        from windows w
        cross join others o
        cross join lateral (
            select sum(r.requests) as requests,
                   sum(r.uncached + r.cache_read + r.cache_write + r.output + r.unclassified) as tokens
            from public.usage_records r
            where r.proxy = o.name and r.ts >= greatest(w.since, o.since) and r.ts < greatest(w.whole, o.whole)
              and r.model ilike w.pattern
        ) each
        where each.requests is not null
    )
    select id, sum(requests)::bigint, sum(tokens)::bigint from used group by id
$$;

-- Deletes everything of a proxy, its name too, and computes the days anew that are not frozen. For people, in the SQL
-- editor: select exporter_forget_proxy('name');
create or replace function public.exporter_forget_proxy(p_proxy text) returns void
language plpgsql set search_path = '' as $$
declare
    days date[];
begin
    perform 1 from public.exporter_proxies where name = p_proxy for update;
    select coalesce(array_agg(distinct day), '{}') into days from public.usage_records where proxy = p_proxy;
    delete from public.usage_records where proxy = p_proxy;
    delete from public.usage_rollups where proxy = p_proxy;
    delete from public.usage_days where proxy = p_proxy;
    delete from public.usage_totals where proxy = p_proxy;
    delete from public.exporter_labels where proxy = p_proxy;
    delete from public.quota_readings where proxy = p_proxy;
    delete from public.exporter_checkpoints where proxy = p_proxy;
    delete from public.exporter_baselines where proxy = p_proxy;
    delete from public.exporter_proxies where name = p_proxy;
    perform public.exporter_recompute(days);
end $$;

-- --- who may do what -------------------------------------------------------------------------------------------------

do $$
declare
    name text;
    signature regprocedure;
begin
    foreach name in array array['exporter_project', 'exporter_proxies', 'usage_prices', 'usage_records', 'usage_rollups',
                                'usage_days', 'usage_totals', 'usage_totals_old', 'exporter_labels', 'exporter_days',
                                'quota_readings', 'exporter_checkpoints', 'exporter_baselines']
    loop
        execute format('alter table public.%I enable row level security', name);
        execute format('revoke all on public.%I from public, anon, authenticated', name);
        execute format('grant select, insert, update, delete on public.%I to service_role', name);
    end loop;
    -- Functions may be called by everybody unless that is taken back, from each role by name.
    for signature in
        select p.oid::regprocedure from pg_catalog.pg_proc p
        where p.pronamespace = 'public'::regnamespace and p.proname in (
            'exporter_schema_version', 'exporter_usd', 'exporter_hold', 'exporter_replace', 'exporter_day_sums',
            'exporter_recompute', 'exporter_claim', 'exporter_release', 'exporter_book', 'exporter_save_checkpoint',
            'exporter_save_quotas', 'exporter_take_over', 'exporter_snapshot', 'exporter_prune',
            'exporter_prune_snapshots', 'exporter_records', 'exporter_limit_use', 'exporter_forget_proxy')
    loop
        execute format('revoke all on function %s from public, anon, authenticated', signature);
        execute format('grant execute on function %s to service_role', signature);
    end loop;
end $$;

-- Tells the API about the new tables and functions.
notify pgrst, 'reload schema';
