-- name: note_kept_events
-- Events to keep at any age: the latest materializations, observations and check results.
create temporary table kept_event on commit preserve rows as
select max(event.id) as id
from event_logs as event
where
    event.asset_key is not null
    and event.dagster_event_type in ('ASSET_MATERIALIZATION', 'ASSET_OBSERVATION')
group by event.dagster_event_type, event.asset_key, event.partition
union
select max(evaluation.evaluation_event_storage_id) as id
from asset_check_executions as evaluation
group by evaluation.asset_key, evaluation.check_name, evaluation.partition;

-- name: index_kept_events
-- Index for the look-up of each slice.
create index on kept_event (id);

-- name: prune_events
-- Delete one slice of the events of ended runs.
with outdated as (
    select event.id
    from event_logs as event
    where
        event.timestamp < %(before)s::timestamptz at time zone 'UTC'
        and not exists (select from kept_event as kept where kept.id = event.id)
        and not exists (
            select from runs as run
            where
                run.run_id = event.run_id
                and run.status not in ('SUCCESS', 'FAILURE', 'CANCELED')
        )
    order by event.id
    limit %(slice)s
)

delete from event_logs as event
using outdated
where event.id = outdated.id;

-- name: prune_event_tags
-- Delete tags of deleted events.
delete from asset_event_tags as tag
where not exists (select from event_logs as event where event.id = tag.event_id);

-- name: prune_check_executions
-- Delete verdicts that a later one of the same check has replaced.
delete from asset_check_executions as evaluation
where
    evaluation.create_timestamp < %(before)s::timestamptz at time zone 'UTC'
    and evaluation.id not in (
        select max(latest.id)
        from asset_check_executions as latest
        group by latest.asset_key, latest.check_name, latest.partition
    );

-- name: prune_runs
-- Delete old ended runs without remaining events; their tags are deleted too.
delete from runs as run
where
    run.status in ('SUCCESS', 'FAILURE', 'CANCELED')
    and coalesce(run.end_time, extract(epoch from run.update_timestamp))
    < extract(epoch from %(before)s::timestamptz)
    and not exists (select from event_logs as event where event.run_id = run.run_id);

-- name: ended_runs
-- Runs that ended long ago, whose output is no longer needed.
select run.run_id
from runs as run
where
    run.status in ('SUCCESS', 'FAILURE', 'CANCELED')
    and coalesce(run.end_time, extract(epoch from run.update_timestamp))
    < extract(epoch from %(before)s::timestamptz);

-- name: sizes
-- Rows and bytes, indexes included, of Dagster's two tables that grow with every run. Rows are the
-- planner's estimate, null if the table was not analyzed yet.
select
    relation.relname as name,
    nullif(relation.reltuples, -1)::bigint as row_count,
    pg_total_relation_size(relation.oid) as bytes
from pg_class as relation
where relation.oid in (to_regclass('event_logs'), to_regclass('runs'));
