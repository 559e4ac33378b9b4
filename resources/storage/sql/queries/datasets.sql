-- name: create_staged_rows
-- Temporary table of a batch before the merge, with its table's types; dropped at the commit.
create temporary table staged_rows on commit drop as
select {columns}
from {table}
with no data;

-- name: copy_rows
-- COPY of the columns' binary stream.
copy {table} ({columns}) from stdin with (format binary);

-- name: analyze_staged_rows
-- Temporary tables are not analyzed by autovacuum, and the merge's plan depends on the size.
analyze staged_rows;

-- name: merge_staged_rows
-- Merge staged rows: insert new ones, restate changed ones, and keep versions of replaced values.
select
    merged.inserted,
    merged.restated,
    merged.stale
from merge_staged_rows(
    %(table)s::regclass, %(ingest_id)s, %(loaded_at)s, %(fetched_at)s, %(provider)s,
    %(names_provider)s
) as merged;

-- name: holds_rows
-- Whether any rows of some instruments are stored, within a span if there is one.
select holds_rows(
    %(table)s::regclass,
    %(instrument_ids)s::bigint[],
    %(provider)s,
    %(dated_by)s::text,
    %(first_moment)s::text,
    %(last_moment)s::text
);

-- name: withdraw_missing_rows
-- Move stored rows that the staged ones lack to the versions; return their number.
select withdraw_missing_rows(
    %(table)s::regclass, %(instrument_id)s, %(ingest_id)s, %(loaded_at)s
) as withdrawn;

-- name: unknown_instruments
-- Instrument ids of a batch that do not exist.
select wanted.instrument_id
from unnest(%(instrument_ids)s::bigint[]) as wanted (instrument_id)
where not exists (
    select from instrument as known
    where known.instrument_id = wanted.instrument_id
)
order by wanted.instrument_id;

-- name: read_daily_bars
-- Bars of a span of sessions under the tickers of their time, for readers.
select
    bar.ticker,
    bar.session_date,
    bar.open,
    bar.high,
    bar.low,
    bar.close,
    bar.volume
from daily_bars as bar
where bar.session_date between $1 and $2
order by bar.ticker, bar.session_date;
