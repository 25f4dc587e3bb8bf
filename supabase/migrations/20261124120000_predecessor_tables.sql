-- The six tables of the older collector: made where they are missing, mended where they are too narrow, closed.
--
-- Nothing that stands in them is changed, except a status that is there twice for one limit (it is derived data).
-- Running this again changes nothing.

-- --- what is missing -------------------------------------------------------------------------------------------------

create table if not exists public.usage_snapshots (
    id bigserial primary key,
    collected_at timestamptz not null default now(),
    total_requests integer not null default 0,
    success_count integer not null default 0,
    failure_count integer not null default 0,
    total_tokens bigint not null default 0,
    cumulative_cost_usd numeric default 0,
    raw_data jsonb
);

create table if not exists public.model_usage (
    id bigserial primary key,
    snapshot_id bigint references public.usage_snapshots (id) on delete cascade,
    api_endpoint varchar(255) not null,
    model_name varchar(255) not null,
    request_count integer not null default 0,
    input_tokens bigint not null default 0,
    output_tokens bigint not null default 0,
    total_tokens bigint not null default 0,
    estimated_cost_usd numeric default 0,
    created_at timestamptz not null default now()
);

create table if not exists public.daily_stats (
    id bigserial primary key,
    stat_date date not null unique,
    total_requests integer not null default 0,
    success_count integer not null default 0,
    failure_count integer not null default 0,
    total_tokens bigint not null default 0,
    estimated_cost_usd numeric default 0,
    breakdown jsonb default '{}',
    updated_at timestamptz not null default now()
);

create table if not exists public.model_pricing (
    id bigserial primary key,
    model_pattern varchar(255) not null unique,
    input_price_per_million numeric(10, 4) not null,
    output_price_per_million numeric(10, 4) not null,
    provider varchar(50) not null default 'unknown',
    updated_at timestamptz not null default now()
);

create table if not exists public.rate_limit_configs (
    id bigserial primary key,
    provider varchar(50) not null,
    tier_name varchar(50) not null,
    model_pattern varchar(255) not null,
    token_limit bigint,
    request_limit integer,
    context_window integer,
    window_minutes integer not null default 1440,
    reset_strategy varchar(20) not null default 'daily',
    reset_anchor_timestamp timestamptz,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now()
);

create table if not exists public.rate_limit_status (
    id bigserial primary key,
    config_id bigint references public.rate_limit_configs (id) on delete cascade,
    remaining_tokens bigint,
    remaining_requests integer,
    used_tokens bigint default 0,
    used_requests integer default 0,
    percentage integer default 0,
    status_label varchar(50),
    window_start timestamptz not null default now(),
    next_reset timestamptz,
    last_updated timestamptz not null default now(),
    constraint unique_status_per_config unique (config_id)
);

-- Old rows get no value in a new column: what nobody measured is not 0.
alter table public.usage_snapshots add column if not exists cumulative_cost_usd numeric;
alter table public.daily_stats add column if not exists breakdown jsonb;
alter table public.rate_limit_configs add column if not exists reset_anchor_timestamp timestamptz;
alter table public.rate_limit_status
    add column if not exists used_tokens bigint,
    add column if not exists used_requests integer,
    add column if not exists percentage integer,
    add column if not exists status_label varchar(50);

-- Rows that were brought from another project leave a sequence behind, and then every new row would be refused.
do $$
declare
    tab text;
    sequence text;
    newest bigint;
    given bigint;
begin
    foreach tab in array array['usage_snapshots', 'model_usage', 'daily_stats', 'model_pricing', 'rate_limit_configs',
                               'rate_limit_status']
    loop
        sequence := pg_catalog.pg_get_serial_sequence('public.' || tab, 'id');
        continue when sequence is null;
        execute format('select max(id) from public.%I', tab) into newest;
        execute format('select last_value from %s', sequence) into given;
        if newest > given then
            perform pg_catalog.setval(sequence, newest);
        end if;
    end loop;
end $$;

-- --- what is too narrow ----------------------------------------------------------------------------------------------

-- Users typed some of these columns by hand, with types of their own. numeric without a width takes over every value
-- as it is; DECIMAL(10,6) ended at 10,000 USD.
do $$
declare
    wanted record;
begin
    for wanted in
        select c.*, a.atttypid, a.atttypmod
        from (values
            ('usage_snapshots', 'cumulative_cost_usd', 'numeric', '0'),
            ('model_usage', 'estimated_cost_usd', 'numeric', '0'),
            ('daily_stats', 'estimated_cost_usd', 'numeric', '0'),
            ('daily_stats', 'breakdown', 'jsonb', '''{}'''),
            ('model_pricing', 'input_price_per_million', 'numeric', null),
            ('model_pricing', 'output_price_per_million', 'numeric', null),
            ('model_pricing', 'provider', 'text', '''unknown'''),
            ('rate_limit_status', 'used_tokens', 'bigint', '0'),
            ('rate_limit_status', 'used_requests', null, '0'),
            ('rate_limit_status', 'percentage', null, '0'),
            ('rate_limit_status', 'status_label', 'text', null)
        ) as c (tab, col, typ, dflt)
        join pg_catalog.pg_attribute a
          on a.attrelid = format('public.%I', c.tab)::regclass and a.attname = c.col
    loop
        if (wanted.atttypid, wanted.atttypmod) <> (wanted.typ::regtype::oid, -1) then
            execute format('alter table public.%I alter column %I drop default', wanted.tab, wanted.col);
            execute format('alter table public.%I alter column %I type %s using %I::%s',
                           wanted.tab, wanted.col, wanted.typ, wanted.col, wanted.typ);
        end if;
        if wanted.dflt is not null then
            execute format('alter table public.%I alter column %I set default %s', wanted.tab, wanted.col, wanted.dflt);
        end if;
    end loop;
end $$;

-- --- what must be unique ---------------------------------------------------------------------------------------------

-- One row per five minutes. Rows of the older collector have no slot.
alter table public.usage_snapshots add column if not exists slot timestamptz;
create unique index if not exists usage_snapshots_slot_key on public.usage_snapshots (slot);

-- What of a day the exporter wrote: {"since": null} is all of it, else `added` is what it added to an older row, of the
-- records since then. Null in rows of the older collector alone. It stands here so that it is not lost with the
-- exporter's own tables.
alter table public.daily_stats add column if not exists exporter_part jsonb;

-- Every published schema has these; a table made by hand may not.
do $$
declare
    wanted record;
begin
    for wanted in
        select * from (values
            ('daily_stats', 'stat_date', 'daily_stats_stat_date_key'),
            ('model_pricing', 'model_pattern', 'model_pricing_model_pattern_key'),
            ('rate_limit_status', 'config_id', 'unique_status_per_config')
        ) as c (tab, col, idx)
    loop
        continue when exists (
            select from pg_catalog.pg_index i
            join pg_catalog.pg_attribute a on a.attrelid = i.indrelid and a.attname = wanted.col
            where i.indrelid = format('public.%I', wanted.tab)::regclass
              and i.indisunique and i.indpred is null and i.indnkeyatts = 1 and i.indkey[0] = a.attnum
        );
        if wanted.tab = 'rate_limit_status' then
            delete from public.rate_limit_status old
            using public.rate_limit_status new
            where new.config_id = old.config_id and (new.last_updated, new.id) > (old.last_updated, old.id);
        end if;
        execute format('create unique index %I on public.%I (%I)', wanted.idx, wanted.tab, wanted.col);
    end loop;
end $$;

create index if not exists idx_usage_snapshots_collected_at on public.usage_snapshots (collected_at desc);
create index if not exists idx_model_usage_snapshot_id on public.model_usage (snapshot_id);
create index if not exists idx_model_usage_model_name on public.model_usage (model_name);
create index if not exists idx_daily_stats_date on public.daily_stats (stat_date desc);

insert into public.model_pricing (model_pattern, input_price_per_million, output_price_per_million, provider)
values ('_default', 0.15, 0.6, 'default')
on conflict (model_pattern) do nothing;

-- --- who may do what -------------------------------------------------------------------------------------------------

-- The older collector's policies had no role, so they let in everybody who had the publishable key.
do $$
declare
    name text;
begin
    foreach name in array array['usage_snapshots', 'model_usage', 'daily_stats', 'model_pricing', 'rate_limit_configs',
                                'rate_limit_status', 'credential_usage_summary']
    loop
        continue when to_regclass(format('public.%I', name)) is null;
        execute format('alter table public.%I enable row level security', name);
        execute format('drop policy if exists "Allow read access" on public.%I', name);
        execute format('drop policy if exists "Allow service insert" on public.%I', name);
        execute format('drop policy if exists "Allow service update" on public.%I', name);
        execute format('drop policy if exists "Allow service upsert" on public.%I', name);
        execute format('drop policy if exists "Allow service all" on public.%I', name);
        execute format('drop policy if exists "Allow anonymous read access to credential_usage_summary" on public.%I',
                       name);
        execute format('drop policy if exists "cliproxy: anon may read" on public.%I', name);
        execute format('revoke all on public.%I from public, anon, authenticated', name);
        execute format('grant select, insert, update, delete on public.%I to service_role', name);
        if pg_get_serial_sequence(format('public.%I', name), 'id') is not null then
            execute format('revoke all on sequence %s from public, anon, authenticated',
                           pg_get_serial_sequence(format('public.%I', name), 'id'));
            execute format('grant usage, select on sequence %s to service_role',
                           pg_get_serial_sequence(format('public.%I', name), 'id'));
        end if;
    end loop;
end $$;

grant usage on schema public to service_role;
