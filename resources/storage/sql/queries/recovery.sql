-- name: record_backup
-- One row for a backup that was taken, or that failed.
insert into backup_run (
    kind, label, started_at, finished_at, bytes, stored_bytes, first_wal, last_wal,
    postgres_version, timescaledb_version, error
) values (
    %(kind)s, %(label)s, %(started_at)s, %(finished_at)s, %(bytes)s, %(stored_bytes)s,
    %(first_wal)s, %(last_wal)s, %(postgres_version)s, %(timescaledb_version)s, %(error)s
);

-- name: last_backups
-- When the latest backup of each kind that succeeded ended.
select kind, max(finished_at) as finished_at
from backup_run
where error is null
group by kind
order by kind;

-- name: last_drill
-- Figures of the latest restore drill that found everything equal.
select finished_at, rto_s, rpo_s, audit_rows_lost
from restore_drill
where finished_at is not null and error is null
order by finished_at desc
limit 1;

-- name: begin_drill
-- The row of a restore drill: a commit after its target.
insert into restore_drill (target, started_at) values (%(target)s, %(started_at)s)
returning restore_drill_id;

-- name: wal_segment
-- The WAL segment that is written now.
select pg_walfile_name(pg_current_wal_insert_lsn());

-- name: end_drill
-- What came of a restore drill.
update restore_drill
set
    finished_at = clock_timestamp(), backup_label = %(backup_label)s, rpo_s = %(rpo_s)s,
    rto_s = %(rto_s)s, tables_compared = %(tables_compared)s,
    rows_compared = %(rows_compared)s, rows_completed = %(rows_completed)s,
    audit_rows_lost = %(audit_rows_lost)s, error = %(error)s
where restore_drill_id = %(restore_drill_id)s;

-- name: archived_wal
-- The last WAL segment that was archived; why and when archiving failed last, if it did since.
select
    left(last_archived_wal, 24) as archived,
    case
        when last_failed_time > coalesce(last_archived_time, '-infinity') then last_failed_wal
    end as failed
from pg_stat_archiver;

-- name: hold
-- Keep schedules and sensors from starting anything until the stores agree.
insert into recovery_hold (reason, target) values (%(reason)s, %(target)s)
on conflict do nothing;

-- name: open_hold
-- The hold that is not released, if there is one.
select reason, target, held_at from recovery_hold where released_at is null;

-- name: release
-- Let schedules and sensors start again.
update recovery_hold
set released_at = clock_timestamp(), released_by = %(by)s, accepted = %(accepted)s
where released_at is null;

-- name: compared_tables
-- The tables whose rows a backup has to hold: all but those of the server and of extensions.
select namespace.nspname, relation.relname
from pg_class as relation
inner join pg_namespace as namespace on namespace.oid = relation.relnamespace
where
    relation.relkind in ('r', 'p')
    and not relation.relispartition
    and namespace.nspname not in ('pg_catalog', 'information_schema', 'pg_toast')
    and namespace.nspname not like '\_timescaledb\_%%'
    and namespace.nspname not like 'pg\_temp\_%%'
    and not exists (
        select
        from pg_depend as dependency
        where
            dependency.classid = 'pg_class'::regclass
            and dependency.objid = relation.oid
            and dependency.deptype = 'e'
    )
order by namespace.nspname, relation.relname;

-- name: set_lock_timeout
-- Give up waiting for writers after this time.
select set_config('lock_timeout', %(milliseconds)s, true);

-- name: lock_writers_out
-- Block writers of a table until the transaction ends; readers go on.
lock table only {table} in share mode;

-- name: fix_formats
-- Write values as text in one way, whatever the server's settings are, and take all the time.
select
    set_config('datestyle', 'ISO, YMD', false),
    set_config('intervalstyle', 'iso_8601', false),
    set_config('bytea_output', 'hex', false),
    set_config('extra_float_digits', '1', false),
    set_config('statement_timeout', '0', false);

-- name: moment
-- This moment by the database's clock.
select clock_timestamp();

-- name: digest
-- Number of rows of a table, and a sum over a hash of each, whatever their order.
select count(*), coalesce(sum(hashtextextended(content::text, 0)::numeric), 0)
from {table} as content;

-- name: expire_leases
-- End the permits of processes that a restored database remembers; none of them lives.
update request_lease
set released_at = clock_timestamp(), expires_at = least(expires_at, clock_timestamp())
where released_at is null and granted_at < %(before)s
returning lease_id;

-- name: latest_answers
-- Raw answers that the latest loads name, newest first.
select answer.pointer
from (
    select ingest_id, raw_answers
    from ingest_log
    where raw_answers <> '{}'
    order by ingest_id desc
    limit %(limit)s
) as latest
cross join lateral unnest(latest.raw_answers) as answer (pointer)
order by latest.ingest_id desc
limit %(limit)s;

-- name: latest_loading_runs
-- Runs of the latest loads, newest first; what a command logs without a run is left out.
select run_id
from ingest_log
where finished_at > clock_timestamp() - interval '30 days' and run_id ~ '^[0-9a-f]{8}-[0-9a-f-]{27}$'
group by run_id
order by max(ingest_id) desc
limit %(limit)s;

-- name: pre_restore
-- Stop TimescaleDB's background work, and let its own tables be written.
select timescaledb_pre_restore();

-- name: post_restore
-- Take TimescaleDB's own tables as they are now, and go on.
select timescaledb_post_restore();
