-- name: lock_instruments
-- Let one transaction at a time change these instruments. Buckets keep the lock table small
-- when a batch holds the whole market; a fixed order keeps loaders from deadlocking.
select pg_advisory_xact_lock(hashtext('wrdata.instruments'), buckets.bucket)
from (
    select distinct (wanted.instrument_id %% 256)::integer as bucket
    from unnest(%(instrument_ids)s::bigint[]) as wanted (instrument_id)
    order by bucket
) as buckets;

-- name: begin_ingest
-- An id for the log row, and the time from which these values are known here: taken under the
-- locks, so that a later version never begins before an earlier one.
select
    nextval(pg_get_serial_sequence('ingest_log', 'ingest_id')) as ingest_id,
    clock_timestamp() as loaded_at;

-- name: log_load
-- One row for a stored answer.
insert into ingest_log (
    ingest_id, dataset, provider, request, content_sha256, raw_answers, run_id, correlation_id,
    instrument_id, adjustment,
    fetched_at, outcome, rows_inserted, rows_unchanged, rows_restated, rows_stale,
    rows_rejected, rows_withdrawn, days_contradicted, notes
) values (
    %(ingest_id)s, %(dataset)s, %(provider)s, %(request)s, %(content_sha256)s,
    %(raw_answers)s, %(run_id)s, %(correlation_id)s, %(instrument_id)s, %(adjustment)s, %(fetched_at)s, 'loaded', %(inserted)s, %(unchanged)s,
    %(restated)s, %(stale)s, %(rejected)s, %(withdrawn)s, %(days_contradicted)s,
    %(notes)s
);

-- name: log_failure
-- One row for a failed request.
insert into ingest_log (
    dataset, provider, request, raw_answers, run_id, correlation_id, instrument_id, fetched_at,
    outcome, error_class, message
) values (
    %(dataset)s, %(provider)s, %(request)s, %(raw_answers)s, %(run_id)s, %(correlation_id)s,
    %(instrument_id)s, %(failed_at)s, 'failed', %(error_class)s, %(message)s
);

-- name: latest_load
-- When an answer of this provider was last stored: the latest row is found by the index.
select finished_at
from ingest_log
where dataset = %(dataset)s and provider = %(provider)s and outcome = 'loaded'
order by finished_at desc
limit 1;

-- name: recent_failures
-- The latest failed requests of a dataset, newest first.
select finished_at, provider, request, run_id, instrument_id, error_class, message
from ingest_log
where dataset = %(dataset)s and outcome = 'failed' and finished_at >= %(since)s
order by finished_at desc
limit %(limit)s;

-- name: run_progress
-- Number of answered requests of a run so far.
select
    count(*) filter (where outcome = 'loaded') as loaded,
    count(*) filter (where outcome = 'failed') as failed
from ingest_log
where run_id = %(run_id)s;

-- name: restatements
-- Number of restated bars by age: the last of the given ages that the bar had reached.
select
    restated_bar.dataset,
    greatest(
        width_bucket(restated_bar.restated_at - restated_bar.ended_at, %(ages)s::interval[]) - 1, 0
    ) as place,
    count(*) as bars
from restatement as restated_bar
where
    restated_bar.restated_at >= %(since)s
    and (
        %(run_id)s::text is null
        or restated_bar.replaced_by_ingest_id in (
            select ingest_log.ingest_id from ingest_log where ingest_log.run_id = %(run_id)s
        )
    )
group by restated_bar.dataset, place
order by restated_bar.dataset, place;
