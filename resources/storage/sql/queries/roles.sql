-- name: existing_roles
-- Which of these roles the server has, and whether each can log in.
select
    rolname as role,
    rolcanlogin as logs_in
from pg_roles
where rolname = any(%(roles)s);

-- name: owner
-- Who owns the tables; before the first migration, who owns the database.
select coalesce(
    (
        select pg_get_userbyid(class.relowner)
        from pg_class as class
        where class.oid = to_regclass('public.schema_migration')
    ),
    (
        select pg_get_userbyid(base.datdba)
        from pg_database as base
        where base.datname = current_database()
    )
);

-- name: is_member
-- Whether a user may act for a role.
select pg_has_role(%(user)s::name, %(role)s::name, 'member');

-- name: create_role
-- A role without a password: nobody can log in before an administrator sets one.
create role {role} login nosuperuser nocreatedb nocreaterole;

-- name: join_role
-- The owner takes over what Dagster's storage creates, to let others read it.
grant {role} to {owner};

-- name: differences
-- What each role should get, and should lose, to have exactly the privileges of its purpose. Tables
-- of any later migration fall into a class by their name; a test holds every table against it.
with
role as (
    select
        pg_roles.oid,
        pg_roles.rolname::text as name
    from pg_roles
    where pg_roles.rolname = any(%(roles)s)
),

held_object as (
    select
        class.relnamespace::regnamespace::text as schema,
        class.relname::text as name,
        case class.relkind when 'S' then 'sequence' else 'table' end as kind,
        class.relkind = 'v' as is_view,
        class.relacl as privileges
    from pg_class as class
    left join pg_depend as member
        on
            member.classid = 'pg_class'::regclass
            and member.objid = class.oid
            and member.deptype = 'e'
    where
        class.relkind in ('r', 'v', 'S')
        and class.relnamespace::regnamespace::text
        in ('public', 'iceberg_catalog', 'continuous', 'dagster')
        and member.objid is null
        and pg_has_role(class.relowner, 'usage')
    union all
    select
        '' as schema,
        namespace.nspname::text as name,
        'schema' as kind,
        false as is_view,
        namespace.nspacl as privileges
    from pg_namespace as namespace
    where
        namespace.nspname in ('public', 'iceberg_catalog', 'continuous', 'dagster')
        and pg_has_role(namespace.nspowner, 'usage')
    union all
    select
        body.pronamespace::regnamespace::text as schema,
        body.proname::text as name,
        'function' as kind,
        false as is_view,
        body.proacl as privileges
    from pg_proc as body
    where body.oid = to_regproc('public.drop_chunk') and pg_has_role(body.proowner, 'usage')
),

classified as (
    select
        held_object.*,
        case
            when kind = 'schema' then 'schema ' || name
            when kind = 'function' then 'function'
            when schema = 'dagster' then 'dagster'
            when kind = 'sequence' then 'sequence'
            when schema = 'iceberg_catalog' then 'catalogue'
            when name in ('schema_migration', 'dead_letter_legal_transition', 'audit_head')
                then 'definition'
            -- The audit log (migration 0019): written and read, never changed.
            when name in ('audit_log', 'audit_anchor', 'audit_verification') then 'audit'
            when name like 'audit\_%%' then 'internal'
            when name = 'trading_session' then 'calendar'
            when name in ('ingest_log', 'dead_letter_transition') then 'log'
            when name like '%%\_version' then 'version'
            when name in ('archive_log', 'archive_tombstone') then 'proof'
            when name in (
                'coverage', 'loaded_day', 'instrument', 'instrument_ticker', 'universe_member', 'company'
            ) then 'ledger'
            when
                name like 'dead\_letter%%'
                or name like 'request\_%%'
                or name like 'circuit\_breaker%%'
                or name in (
                    'run_worker', 'provider_plan', 'store_size', 'ingest_total', 'backup_run',
                    'restore_drill', 'recovery_hold'
                )
                then 'operation'
            else 'rows'
        end as class
    from held_object
),

purpose (class, role, privileges) as (
    values
    ('schema public', 'wrdata_loader', '{USAGE}'::text[]),
    ('schema public', 'wrdata_reader', '{USAGE}'),
    ('schema public', 'wrdata_exporter', '{USAGE}'),
    ('schema iceberg_catalog', 'wrdata_loader', '{USAGE}'),
    ('schema iceberg_catalog', 'wrdata_reader', '{USAGE}'),
    ('schema continuous', 'wrdata_loader', '{USAGE}'),
    ('schema continuous', 'wrdata_reader', '{USAGE}'),
    ('schema dagster', 'wrdata_dagster', '{USAGE,CREATE}'),
    ('schema dagster', 'wrdata_exporter', '{USAGE}'),
    ('function', 'wrdata_loader', '{EXECUTE}'),
    ('sequence', 'wrdata_loader', '{USAGE}'),
    ('dagster', 'wrdata_exporter', '{SELECT}'),
    ('catalogue', 'wrdata_loader', '{SELECT,INSERT,UPDATE,DELETE}'),
    ('catalogue', 'wrdata_reader', '{SELECT}'),
    ('definition', 'wrdata_loader', '{SELECT}'),
    ('definition', 'wrdata_exporter', '{SELECT}'),
    ('audit', 'wrdata_loader', '{SELECT,INSERT}'),
    ('audit', 'wrdata_exporter', '{SELECT}'),
    ('log', 'wrdata_loader', '{SELECT,INSERT}'),
    ('log', 'wrdata_reader', '{SELECT}'),
    ('log', 'wrdata_exporter', '{SELECT}'),
    ('version', 'wrdata_loader', '{SELECT,INSERT}'),
    ('version', 'wrdata_reader', '{SELECT}'),
    ('proof', 'wrdata_loader', '{SELECT,INSERT,UPDATE}'),
    ('proof', 'wrdata_reader', '{SELECT}'),
    ('proof', 'wrdata_exporter', '{SELECT}'),
    ('ledger', 'wrdata_loader', '{SELECT,INSERT,UPDATE,DELETE}'),
    ('ledger', 'wrdata_reader', '{SELECT}'),
    ('ledger', 'wrdata_exporter', '{SELECT}'),
    ('operation', 'wrdata_loader', '{SELECT,INSERT,UPDATE,DELETE}'),
    ('operation', 'wrdata_exporter', '{SELECT}'),
    -- Analyzed by who writes it (queries/sessions.sql), which PostgreSQL 17 lets others do.
    ('calendar', 'wrdata_loader', '{SELECT,INSERT,UPDATE,DELETE,MAINTAIN}'),
    ('calendar', 'wrdata_reader', '{SELECT}'),
    ('rows', 'wrdata_loader', '{SELECT,INSERT,UPDATE,DELETE}'),
    ('rows', 'wrdata_reader', '{SELECT}')
),

compared as (
    select
        role.name as role,
        object.kind,
        object.schema,
        object.name,
        array(
            select wanted.privilege
            from purpose
            cross join unnest(purpose.privileges) as wanted (privilege)
            where
                purpose.class = object.class
                and purpose.role = role.name
                -- A view is only read; a sequence of Dagster's is its owner's.
                and (not object.is_view or wanted.privilege = 'SELECT')
                and (object.kind <> 'sequence' or object.class = 'sequence')
                and (
                    wanted.privilege <> 'MAINTAIN'
                    or current_setting('server_version_num')::integer >= 170000
                )
            order by wanted.privilege
        ) as wanted,
        array(
            select held.privilege_type
            from aclexplode(object.privileges) as held
            where held.grantee = role.oid
            order by held.privilege_type
        ) as held
    from role
    cross join classified as object
    -- What it has created is its own.
    where not (role.name = 'wrdata_dagster' and object.class = 'dagster')
)

select
    compared.role,
    compared.kind,
    compared.schema,
    compared.name,
    array(
        select unnest(compared.wanted)
        except
        select unnest(compared.held)
        order by 1
    ) as granted,
    array(
        select unnest(compared.held)
        except
        select unnest(compared.wanted)
        order by 1
    ) as revoked
from compared
where compared.wanted <> compared.held
order by compared.role, compared.kind, compared.schema, compared.name;

-- name: grant_privileges
-- On a hypertable they count for its chunks too, those of the future included.
grant {privileges} on {kind} {name} to {role};

-- name: revoke_privileges
-- What a role has beyond its purpose.
revoke {privileges} on {kind} {name} from {role};

-- name: dagster_tables_of_owner
-- Tables of Dagster's storage that were created as the owner, before the role existed.
select class.relname::text as name
from pg_class as class
where
    class.relnamespace::regnamespace::text = 'dagster'
    and class.relkind = 'r'
    and class.relowner <> to_regrole(%(role)s)
    and pg_has_role(class.relowner, 'usage')
order by class.relname;

-- name: give_table
-- Its sequences and indexes follow.
alter table {name} owner to {role};

-- name: let_read_future_tables
-- Dagster's storage creates its tables by itself, and new ones with a new version.
alter default privileges for role {creator} in schema dagster
grant select on tables to {reader};
