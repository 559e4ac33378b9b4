-- name: record
-- Add a row; its id, time, text and hashes are the trigger's.
insert into audit_log (who, origin, action, subject, details)
values (%(who)s, %(origin)s, %(action)s, %(subject)s, %(details)s);

-- name: last_row
-- The last row: in the transaction that added one, that one, since others wait for its end.
select id, at, who, origin, action, subject, details, canonical, previous_hash, hash
from audit_log
order by id desc
limit 1;

-- name: log_exists
-- Whether the database has an audit log yet: it came with migration 0019.
select to_regclass('audit_log') is not null;

-- name: one_moment
-- Let all that follows in this transaction read one moment of the database.
set transaction isolation level repeatable read, read only;

-- name: head
-- The end of the chain as the head has it.
select last_id, last_hash from audit_head;

-- name: hash
-- Hash of a row; before the first, what stands for it.
select hash from audit_log where id = %(id)s
union all
select decode(repeat('00', 32), 'hex') where %(id)s = 0;

-- name: chain
-- Every row, in the order of the chain.
select id, at, who, origin, action, subject, details, canonical, previous_hash, hash
from audit_log
order by id;

-- name: find
-- The latest rows that match; null matches everything.
select id, at, who, origin, action, subject, details, canonical, previous_hash, hash
from audit_log
where
    (%(since)s::timestamptz is null or at >= %(since)s)
    and (%(actions)s::text [] is null or action = any(%(actions)s))
    and (%(who)s::text is null or strpos(lower(who), lower(%(who)s)) > 0)
order by id desc
limit %(limit)s;

-- name: subjects
-- Which of these runs or backfills have a row of the action.
select subject from audit_log where action = %(action)s and subject = any(%(subjects)s);

-- name: lock_fingerprints
-- Let one process compare and record a fingerprint at a time, until the transaction ends.
select pg_advisory_xact_lock(hashtextextended('wrdata.audit.fingerprints', 0));

-- name: latest_of_host
-- Details of the latest row of an action from a host; where it has none, of the latest of any.
select details
from audit_log
where action = %(action)s
order by coalesce(details ->> 'host' = %(host)s, false) desc, id desc
limit 1;

-- name: privileges
-- What roles may do beyond what they own: on schemas, relations, columns and functions; members,
-- superusers. Schemas of PostgreSQL, of TimescaleDB and of sessions are left out.
with acl as (
    select
        'schema ' || nspname as object,
        nspowner as owner,
        nspacl as acl,
        nspname as schema_name
    from pg_namespace
    union all
    select
        case relkind when 'S' then 'sequence ' else 'table ' end
        || relnamespace::regnamespace::text || '.' || relname,
        relowner,
        relacl,
        relnamespace::regnamespace::text
    from pg_class
    where relkind in ('r', 'v', 'm', 'S', 'p', 'f')
    union all
    select
        'column ' || relnamespace::regnamespace::text || '.' || relname || '.' || attname,
        relowner,
        attacl,
        relnamespace::regnamespace::text
    from pg_attribute inner join pg_class on pg_class.oid = attrelid
    where attacl is not null
    union all
    select
        'function ' || pronamespace::regnamespace::text || '.' || proname,
        proowner,
        proacl,
        pronamespace::regnamespace::text
    from pg_proc
    union all
    select
        'database ' || datname,
        datdba,
        datacl,
        'database'
    from pg_database where datname = current_database()
)

select distinct
    privilege_type || ' on ' || object || ' to '
    || case grantee when 0 then 'public' else pg_get_userbyid(grantee) end
    || case when is_grantable then ' with grant option' else '' end as privilege
from acl, lateral aclexplode(acl.acl)
where
    grantee <> owner
    and schema_name !~ '^(pg_|information_schema$|_?timescaledb_)'
union
select 'member of ' || pg_get_userbyid(roleid) || ': ' || pg_get_userbyid(member)
from pg_auth_members
where pg_get_userbyid(member) !~ '^pg_'
union
select 'superuser ' || rolname from pg_roles where rolsuper
order by privilege;

-- name: record_anchor
-- Note what was anchored.
insert into audit_anchor (anchored_at, audit_id, hash, object_key)
values (%(anchored_at)s, %(audit_id)s, %(hash)s, %(object_key)s);

-- name: record_verification
-- Keep the result of a verification.
insert into audit_verification (valid, through_id, finding)
values (%(valid)s, %(through_id)s, %(finding)s);

-- name: owner
-- Who owns the log.
select pg_get_userbyid(relowner) from pg_class where oid = to_regclass('audit_log');

-- name: lock_log
-- Let nobody add rows until the transaction ends.
lock table audit_log in share row exclusive mode;

-- name: stop_chaining
-- Let the owner put rows back as they were, with their own ids, times and hashes.
alter table audit_log disable trigger audit_log_is_chained;

-- name: free_head
-- Let the owner set the head.
alter table audit_head disable trigger audit_head_moves_with_the_log;

-- name: reinstate
-- Put a row back as it was.
insert into audit_log (
    id, at, who, origin, action, subject, details, canonical, previous_hash, hash
)
values (
    %(id)s, %(at)s, %(who)s, %(origin)s, %(action)s, %(subject)s, %(details)s, %(canonical)s,
    %(previous_hash)s, %(hash)s
);

-- name: set_head
-- Set the end of the chain to the last row that was put back.
update audit_head set last_id = %(last_id)s, last_hash = %(last_hash)s;

-- name: guard_head
-- Let only the log move the head from now on.
alter table audit_head enable trigger audit_head_moves_with_the_log;

-- name: chain_again
-- Chain every row that is added from now on.
alter table audit_log enable trigger audit_log_is_chained;
