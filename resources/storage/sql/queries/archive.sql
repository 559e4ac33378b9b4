-- name: bars_of_month
-- The rows of one month in the archive's order and types; parameters $1 (included), $2 (excluded).
select
    bar.instrument_id,
    named.ticker,
    bar.session_date,
    bar.open,
    bar.high,
    bar.low,
    bar.close,
    bar.volume,
    bar.adjustment::text as adjustment,
    bar.provider,
    bar.known_from
from daily_bar as bar
left join instrument_ticker as named
    on named.instrument_id = bar.instrument_id and named.valid @> bar.session_date
where bar.session_date >= $1 and bar.session_date < $2
order by bar.instrument_id, bar.session_date;

-- name: valid_rows
-- The valid log row of each archived month.
select
    month,
    object_key,
    rows,
    bytes,
    first_session,
    last_session,
    file_sha256,
    content_digest,
    column_sha256,
    schema_fingerprint,
    snapshot_id,
    code_version
from archive_log
where dataset = %(dataset)s and superseded_at is null
order by month;

-- name: lock_log
-- One writer at a time, so that a month never has two valid rows.
select pg_advisory_xact_lock(hashtextextended('wrdata.archive_log', 0));

-- name: supersede
-- The valid rows of these months make way.
update archive_log
set superseded_at = clock_timestamp()
where
    dataset = %(dataset)s
    and month = any(%(months)s::date[])
    and superseded_at is null;

-- name: insert_row
-- A month as it is archived now.
insert into archive_log (
    dataset, month, object_key, rows, bytes, first_session, last_session, file_sha256,
    content_digest, column_sha256, schema_fingerprint, snapshot_id, code_version
) values (
    %(dataset)s, %(month)s, %(object_key)s, %(rows)s, %(bytes)s, %(first_session)s,
    %(last_session)s, %(file_sha256)s, %(content_digest)s, %(column_sha256)s::jsonb,
    %(schema_fingerprint)s, %(snapshot_id)s, %(code_version)s
);
