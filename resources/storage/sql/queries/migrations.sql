-- name: lock_migrations
-- Let one process migrate at a time; released when the session ends.
-- A migration may take longer than the pipeline's statement timeout.
select
    pg_advisory_lock(hashtextextended('wrdata.migrations', 0)),
    set_config('statement_timeout', '0', false);

-- name: create_timescaledb
-- Needs a superuser, unless the server's template already has it.
create extension if not exists timescaledb;

-- name: create_btree_gist
-- Needed for exclusion constraints over a scalar and a range.
create extension if not exists btree_gist;

-- name: create_schema_migration
-- The table of applied migrations.
create table if not exists schema_migration (
    name text primary key,
    sha256 text not null,
    applied_at timestamptz not null default now()
);

-- name: add_contracts
-- A database of before contractions were told from expansions has only expansions.
alter table schema_migration add column if not exists contracts boolean not null default false;

-- name: schema_migration_exists
-- Whether that table exists.
select to_regclass('schema_migration') is not null;

-- name: applied_migrations
-- The applied migrations, in order. By JSON: a database of before has no column contracts.
select
    name,
    sha256,
    applied_at,
    coalesce((to_jsonb(schema_migration) ->> 'contracts')::boolean, false) as contracts
from schema_migration
order by name;

-- name: record_migration
-- Written in the same transaction as the migration itself.
insert into schema_migration (name, sha256, contracts)
values (%(name)s, %(sha256)s, %(contracts)s);
