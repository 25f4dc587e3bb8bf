"""The databases that users of the predecessor have: every schema that it published, and what became of them.

``ERAS`` are SQL scripts that make the tables, run statement by statement as their users did (some stop in the middle).
``fill`` puts rows into whatever tables there are.
"""

from tests.stack.supabase.postgres import Database

RAW_KEY = "sk-not-a-real-key-0123456789"
"""A client's key as the predecessor stored it."""

_SNAPSHOTS = """
create table usage_snapshots (
    id bigserial primary key, collected_at timestamptz not null default now(),
    total_requests integer not null default 0, success_count integer not null default 0,
    failure_count integer not null default 0, total_tokens bigint not null default 0, {cost} raw_data jsonb);
create table model_usage (
    id bigserial primary key, snapshot_id bigint references usage_snapshots (id) on delete cascade,
    model_name varchar(255) not null, api_endpoint varchar(255) not null,
    request_count integer not null default 0, input_tokens bigint not null default 0,
    output_tokens bigint not null default 0, total_tokens bigint not null default 0,
    estimated_cost_usd decimal(10,6) default 0, created_at timestamptz not null default now());
create table daily_stats (
    id bigserial primary key, stat_date date not null unique, total_requests integer not null default 0,
    success_count integer not null default 0, failure_count integer not null default 0,
    total_tokens bigint not null default 0, estimated_cost_usd decimal(10,6) default 0, {breakdown}
    updated_at timestamptz not null default now());
create table model_pricing (
    id bigserial primary key, model_pattern varchar(255) not null unique,
    input_price_per_million decimal(10,4) not null, output_price_per_million decimal(10,4) not null,
    provider varchar(50) not null {provider}, updated_at timestamptz not null default now());
create index idx_usage_snapshots_collected_at on usage_snapshots (collected_at desc);
create index idx_model_usage_snapshot_id on model_usage (snapshot_id);
create index idx_model_usage_model_name on model_usage (model_name);
create index idx_daily_stats_date on daily_stats (stat_date desc);
"""
_LIMITS = """
create table rate_limit_configs (
    id bigserial primary key, provider varchar(50) not null, tier_name varchar(50) not null,
    model_pattern varchar(255) not null, token_limit bigint, request_limit integer, context_window integer,
    window_minutes integer not null default 1440, reset_strategy varchar(20) not null default 'daily', {anchor}
    created_at timestamptz not null default now(), updated_at timestamptz not null default now());
create table rate_limit_status (
    id bigserial primary key, config_id bigint references rate_limit_configs (id) on delete cascade,
    remaining_tokens bigint, remaining_requests integer, {used}
    window_start timestamptz not null default now(), next_reset timestamptz,
    last_updated timestamptz not null default now(), constraint unique_status_per_config unique (config_id));
"""
_LATE = {
    "cost": "cumulative_cost_usd decimal(10,6) default 0,",
    "breakdown": "breakdown jsonb default '{}'::jsonb,",
    "provider": "default 'unknown'",
    "anchor": "reset_anchor_timestamp timestamptz,",
    "used": "used_tokens bigint default 0, used_requests integer default 0, percentage integer default 0,"
    " status_label varchar(50),",
}
_EARLY = dict.fromkeys(_LATE, "")

_FOUR = ("usage_snapshots", "model_usage", "daily_stats", "model_pricing")
_SIX = (*_FOUR, "rate_limit_configs", "rate_limit_status")


def _policies(tables: tuple[str, ...], *, late: bool) -> str:
    wanted = [(table, "Allow read access", "select using (true)") for table in tables]
    inserted = ("usage_snapshots", "model_usage", "model_pricing")
    wanted += [(table, "Allow service insert", "insert with check (true)") for table in inserted]
    wanted += [("daily_stats", "Allow service upsert", "all using (true)")]
    if late:
        wanted += [(t, "Allow service update", "update using (true)") for t in ("usage_snapshots", "model_pricing")]
    wanted += [(table, "Allow service all", "all using (true)") for table in tables if table.startswith("rate_")]
    lines = [f"alter table {table} enable row level security;" for table in tables]
    lines += [f'create policy "{name}" on {table} for {rule};' for table, name, rule in wanted]
    if not late:  # the published file made one of the policies a second time, and stopped there
        lines.append('create policy "Allow read access" on usage_snapshots for select using (true);')
    return "\n".join(lines)


def _seeds() -> str:
    rows = [
        ("OpenAI", "Plus", "gpt", 800_000, 300, "rolling"),
        ("OpenAI", "Plus", "gpt-weekly", 5_000_000, 10_080, "weekly"),
        ("Anthropic", "Pro", "claude", 1_500_000, 300, "rolling"),
        ("Anthropic", "Pro", "claude-weekly", 20_000_000, 10_080, "weekly"),
        ("Google", "AI Pro", "gemini", 2_000_000, 300, "rolling"),
        ("Google", "AI Pro", "gemini-weekly", 25_000_000, 10_080, "weekly"),
    ]
    values = ", ".join(map(str, rows))
    columns = "provider, tier_name, model_pattern, token_limit, window_minutes, reset_strategy"
    return f"insert into rate_limit_configs ({columns}) values {values};"


_A = (_SNAPSHOTS + _LIMITS).format(**_EARLY) + _policies(_SIX, late=False) + _seeds()
_B = (_SNAPSHOTS + _LIMITS).format(**_LATE) + _policies(_SIX, late=True)
_C = _SNAPSHOTS.format(**_EARLY) + _policies(_FOUR, late=False)
_D = _SNAPSHOTS.format(**_LATE) + _policies(_FOUR, late=True)
_M4 = """
create table if not exists credential_usage_summary (
    id serial primary key, credentials jsonb not null default '[]', api_keys jsonb not null default '[]',
    total_credentials integer default 0, total_api_keys integer default 0, synced_at timestamptz default now());
alter table credential_usage_summary enable row level security;
create policy "Allow anonymous read access to credential_usage_summary" on credential_usage_summary
    for select using (true);
create policy "Allow service role full access to credential_usage_summary" on credential_usage_summary
    for all using (auth.role() = 'service_role');
insert into credential_usage_summary (id, credentials, api_keys) values (1, '[]', '[]') on conflict do nothing;
"""
GUIDE = ("credentials", "usage", "daily_stats")
"""Tables ``oauth_...`` that a guide named, and for which no code was published."""
_O = "".join(f"create table oauth_{name} (id bigserial primary key, name text);" for name in GUIDE)
_BY_HAND_DOUBLE = """
alter table usage_snapshots add cumulative_cost_usd double precision default 0;
alter table daily_stats add breakdown json;
alter table rate_limit_status add used_tokens integer default 0, add used_requests bigint, add percentage numeric,
    add status_label text;
alter table rate_limit_configs add reset_anchor_timestamp timestamptz;
"""
_BY_HAND_WIDE = """
alter table usage_snapshots add cumulative_cost_usd numeric(20,8);
alter table daily_stats add breakdown jsonb, alter estimated_cost_usd type numeric(12,2);
alter table model_usage alter estimated_cost_usd type numeric;
"""
_WITHOUT_UNIQUE = """
alter table daily_stats drop constraint daily_stats_stat_date_key;
alter table model_pricing drop constraint model_pricing_model_pattern_key;
alter table rate_limit_status drop constraint unique_status_per_config;
"""

ERAS = {
    "nothing": "",
    "A, the first file": _A,
    "A, run twice": _A + _A,
    "B, the readme": _B,
    "C, the later file": _C,
    "D, the later readme": _D,
    "B with the summary of credentials": _B + _M4,
    "C with the summary of credentials, run twice": _C + _M4 + _M4,
    "A with columns made by hand as double and json": _A + _BY_HAND_DOUBLE,
    "C with columns made by hand as wide numerics": _C + _BY_HAND_WIDE,
    "B without its unique constraints": _B + _WITHOUT_UNIQUE,
    "D with the tables of the guide": _D + _O,
}

_ROWS = {
    "usage_snapshots": [
        "insert into usage_snapshots"
        " (collected_at, total_requests, success_count, failure_count, total_tokens, raw_data)"
        " select timestamptz '2026-11-01 10:00Z' + n * interval '5 minutes', 100 + n, 90 + n, 10, 5000 * n,"
        f""" '{{"usage": {{"apis": {{"{RAW_KEY}": {{}}}}}}}}' from generate_series(0, 3) n;""",
        "update usage_snapshots set cumulative_cost_usd = 9999.123456;",
    ],
    "model_usage": [
        "insert into model_usage (snapshot_id, api_endpoint, model_name, request_count, total_tokens,"
        f" estimated_cost_usd) select id, '{RAW_KEY}', 'gpt-4o', 7, 700, 12.34 from usage_snapshots;",
    ],
    "daily_stats": [
        "insert into daily_stats (stat_date, total_requests, success_count, failure_count, total_tokens,"
        " estimated_cost_usd) values ('2026-10-31', 10, 9, 1, 1000, 1.5), ('2026-11-01', 20, 18, 2, 2000, 9999.99);",
        "update daily_stats set breakdown = '{"
        '"models": {"gpt-4o": {"requests": 20, "tokens": 2000, "cost": 2.5}},'
        f' "endpoints": {{"{RAW_KEY}": {{"requests": 20, "tokens": 2000, "cost": 2.5}}}}'
        "}' where stat_date = '2026-11-01';",
    ],
    "model_pricing": [
        "insert into model_pricing (model_pattern, input_price_per_million, output_price_per_million, provider)"
        " values ('gpt-%', 2.5, 10, 'Open AI'), ('_default', 1, 2, 'mine');",
    ],
    "rate_limit_configs": [
        "insert into rate_limit_configs (provider, tier_name, model_pattern, token_limit, reset_strategy)"
        " values ('Google', '', 'gemini', 5000, 'fixed');"
    ],
    "rate_limit_status": [
        "insert into rate_limit_status (config_id, remaining_tokens) select id, 10 from rate_limit_configs;",
        "update rate_limit_status set percentage = 12, used_tokens = 3, status_label = '3/13 Tokens';",
    ],
    "credential_usage_summary": [
        "update credential_usage_summary set api_keys = "
        f"""'[{{"api_key_name": "{RAW_KEY}", "total_requests": 3}}]', total_api_keys = 1;"""
    ],
}


def make(database: Database, era: str, *, filled: bool) -> None:
    """Bring an empty database to an era, without the columns that the era lacks."""
    database.run_loosely(ERAS[era])
    if filled:
        database.run_loosely("\n".join(statement for table in _ROWS.values() for statement in table))
