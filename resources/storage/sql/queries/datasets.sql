-- name: create_staged_rows
-- Where a batch waits for the merge, in the types of its table; dropped when its transaction ends.
create temporary table staged_rows on commit drop as
select {columns}
from {table}
with no data;

-- name: copy_rows
-- Takes the binary stream of the columns.
copy {table} ({columns}) from stdin with (format binary);

-- name: analyze_staged_rows
-- Temporary tables are never analyzed on their own, and the merge's plan depends on the size.
analyze staged_rows;

-- name: merge_staged_rows
-- Tell new, equal and restated rows apart, and keep what is replaced.
select
    merged.inserted,
    merged.restated,
    merged.stale
from merge_staged_rows(
    %(table)s::regclass, %(ingest_id)s, %(loaded_at)s, %(fetched_at)s, %(provider)s,
    %(names_provider)s
) as merged;

-- name: holds_rows
-- Whether rows of some instruments are stored in a span of the column that dates them, or any.
select holds_rows(
    %(table)s::regclass,
    %(instrument_ids)s::bigint[],
    %(provider)s,
    %(dated_by)s::text,
    %(first_moment)s::text,
    %(last_moment)s::text
);

-- name: withdraw_missing_rows
-- Move stored rows that the staged ones lack to the versions; return how many.
select withdraw_missing_rows(
    %(table)s::regclass, %(instrument_id)s, %(ingest_id)s, %(loaded_at)s
) as withdrawn;

-- name: unknown_instruments
-- Ids of a batch that no instrument has.
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
