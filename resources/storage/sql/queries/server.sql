-- name: describe_server
-- Versions of Postgres and TimescaleDB, its licence, and the size of this database.
select
    current_setting('server_version'),
    (select extversion from pg_extension where extname = 'timescaledb'),
    current_setting('timescaledb.license', true),
    current_database(),
    pg_database_size(current_database());

-- name: extension_versions
-- Installed and available version of each extension that the schema needs, and whether the
-- server loads TimescaleDB, which shows by a setting of its loader.
select
    wanted.name,
    installed.extversion,
    available.default_version,
    current_setting('timescaledb.disable_load', true) is not null
from unnest(%(names)s::text[]) as wanted (name)
left join pg_extension as installed on installed.extname = wanted.name
left join pg_available_extensions as available on available.name = wanted.name
order by wanted.name;

-- name: limit_statements
-- End each statement of this session that takes longer.
select set_config('statement_timeout', %(milliseconds)s, false);
