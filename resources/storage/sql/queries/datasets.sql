-- name: create_staged_rows
-- Where a batch waits for the merge; dropped when its transaction ends.
select create_staged_rows(%(table)s::regclass, %(columns)s::text[]);

-- name: copy_staged_rows
-- Takes pgpq's binary stream, its columns in the order of the table.
copy staged_rows from stdin with (format binary);

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
    %(table)s::regclass, %(ingest_id)s, %(loaded_at)s, %(fetched_at)s, %(provider)s
) as merged;

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
