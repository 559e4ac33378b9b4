-- name: valid_rows
-- The valid log rows of a dataset, oldest first.
select
    archive_id,
    snapshot_id,
    period,
    lower(span) as starts_on,
    upper(span) as ends_before,
    files,
    bounds,
    content_digest,
    column_sha256,
    schema_fingerprint,
    code_version,
    correlation_id
from archive_log
where dataset = %(dataset)s and superseded_at is null
order by span;

-- name: lock_log
-- One writer at a time, so that a day never has two valid rows.
select pg_advisory_xact_lock(hashtextextended('wrdata.archive_log', 0));

-- name: supersede
-- Supersede the valid rows of these days.
update archive_log
set superseded_at = clock_timestamp()
where
    dataset = %(dataset)s
    and span && %(span)s::daterange
    and superseded_at is null;

-- name: insert_row
-- Insert the log row of a newly archived period.
insert into archive_log (
    dataset, period, span, files, rows, bytes, bounds, content_digest, column_sha256,
    schema_fingerprint, snapshot_id, code_version, correlation_id
) values (
    %(dataset)s, %(period)s, %(span)s, %(files)s, %(rows)s, %(bytes)s, %(bounds)s,
    %(content_digest)s, %(column_sha256)s, %(schema_fingerprint)s, %(snapshot_id)s,
    %(code_version)s, %(correlation_id)s
)
returning archive_id;

-- name: live_tombstones
-- The days of a dataset that are in the archive only, with time and author of the drop.
select
    lower(span) as starts_on,
    upper(span) as ends_before,
    dropped_at,
    dropped_by
from archive_tombstone
where dataset = %(dataset)s and restored_at is null
order by span;

-- name: tickers
-- Spans of tickers by instrument, in days since 1970.
select
    instrument_id,
    ticker,
    coalesce(lower(valid) - date '1970-01-01', -1000000000)::bigint as starts_on,
    coalesce(upper(valid) - date '1970-01-01', 1000000000)::bigint as ends_before
from instrument_ticker
order by instrument_id, lower(valid) nulls first;

-- name: first_moment
-- The oldest row of a table, of any dataset.
select min(held.{dated_by}) from {table} as held;
