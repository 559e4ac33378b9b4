-- name: take_turn
-- Take the lock of moves; returns whether no other retention or restore holds it.
select pg_try_advisory_xact_lock(hashtextextended('wrdata.retention', 0));

-- name: set_lock_timeout
-- Set how long this transaction waits for a lock, in milliseconds.
select set_config('lock_timeout', %(milliseconds)s, true);

-- name: lock_writers_out
-- Block writers, also into new chunks, since they lock the table itself; readers go on.
lock table only {table} in share row exclusive mode;

-- name: lock_refreshes_out
-- Block new and claimed invalidations; writers of bars wait at their own table.
lock table {invalidations} in share row exclusive mode;

-- name: has_rows
-- Whether the table holds a row of the period.
select exists (
    select from {table} as held
    inner join instrument on instrument.instrument_id = held.instrument_id
    where
        held.{dated_by} >= %(start)s
        and held.{dated_by} < %(end)s
        and instrument.kind = %(kind)s
);

-- name: count_rows
-- Number of rows of the period in the table.
select count(*)
from {table} as held
inner join instrument on instrument.instrument_id = held.instrument_id
where
    held.{dated_by} >= %(start)s
    and held.{dated_by} < %(end)s
    and instrument.kind = %(kind)s;

-- name: provisional_days
-- Number of provisional spans of days, of any provider.
select count(*)
from coverage
cross join unnest(coverage.sessions * datemultirange(%(days)s::daterange)) as piece (days)
where
    coverage.dataset = %(dataset)s
    and coverage.state = 'provisional';

-- name: waiting_invalidations
-- Number of waiting invalidations of the period's buckets.
select count(*)
from {invalidations} as waiting
inner join instrument on instrument.instrument_id = waiting.instrument_id
where waiting.span && %(span)s and instrument.kind = %(kind)s;

-- name: valid_proof
-- The valid proof of exactly these days.
select archive_id
from archive_log
where
    dataset = %(dataset)s
    and period = %(period)s
    and span = %(days)s::daterange
    and superseded_at is null;

-- name: lock_proof
-- The valid proof of exactly these days, locked until the transaction ends.
select archive_id
from archive_log
where
    dataset = %(dataset)s
    and period = %(period)s
    and span = %(days)s::daterange
    and superseded_at is null
for update;

-- name: chunks
-- Chunks that may hold rows of the period, with their bounds, oldest first.
select
    chunk.chunk_schema,
    chunk.chunk_name,
    chunk.range_start,
    chunk.range_end
from timescaledb_information.chunks as chunk
where
    chunk.hypertable_schema = 'public'
    and chunk.hypertable_name = %(table)s
    and chunk.range_start < %(end)s
    and chunk.range_end > %(start)s
order by chunk.range_start;

-- name: chunk_holds_others
-- Whether a chunk holds rows of other days or of another dataset.
select exists (
    select from {chunk} as held
    left join instrument on instrument.instrument_id = held.instrument_id
    where
        held.{dated_by} < %(start)s
        or held.{dated_by} >= %(end)s
        or instrument.kind is distinct from %(kind)s
);

-- name: delete_rows
-- Delete the period's rows between two moments from a chunk that has to stay.
delete from {table} as held
using instrument
where
    held.{dated_by} >= greatest(%(start)s, %(range_start)s)
    and held.{dated_by} < least(%(end)s, %(range_end)s)
    and instrument.instrument_id = held.instrument_id
    and instrument.kind = %(kind)s;

-- name: lock_readers_out
-- Block readers before a drop: a read locks the table itself (reader.sql).
lock table only {table} in access exclusive mode;

-- name: lock_chunk
-- Lock the chunk first: readers lock a table before its index, drop_chunks does not, so both could deadlock.
lock table {chunk} in access exclusive mode;

-- name: drop_chunk
-- Drop a chunk of a table that somebody else owns (migration 0021).
select drop_chunk(%(chunk)s::regclass);

-- name: forget_own_invalidations
-- Remove only the invalidations of this transaction's deletions: aggregates of dropped rows stay.
delete from {invalidations} where xmin = pg_current_xact_id()::xid;

-- name: bury
-- Write the tombstone of days that are in the archive only from now on.
insert into archive_tombstone (dataset, span, archive_id, rows, dropped_by)
values (%(dataset)s, %(days)s, %(archive_id)s, %(rows)s, %(by)s);

-- name: lift_tombstone
-- Lift the tombstone: the days are in the database again.
update archive_tombstone
set restored_at = clock_timestamp(), restored_by = %(by)s
where dataset = %(dataset)s and span && %(days)s::daterange and restored_at is null;

-- name: move_days
-- Move days of all ledgers of a dataset from one state to another.
with
moved as materialized (
    select
        coverage.dataset,
        coverage.provider,
        coverage.instrument_id,
        coverage.sessions * datemultirange(%(days)s::daterange) as sessions
    from coverage
    where
        coverage.dataset = %(dataset)s
        and coverage.state = %(before)s::coverage_state
        and coverage.sessions && %(days)s::daterange
    order by coverage.provider, coverage.instrument_id
    for update
),

emptied as (
    delete from coverage
    using moved
    where
        coverage.dataset = moved.dataset
        and coverage.provider = moved.provider
        and coverage.instrument_id = moved.instrument_id
        and coverage.state = %(before)s::coverage_state
        and isempty(coverage.sessions - moved.sessions)
),

lessened as (
    update coverage
    set sessions = coverage.sessions - moved.sessions, updated_at = now()
    from moved
    where
        coverage.dataset = moved.dataset
        and coverage.provider = moved.provider
        and coverage.instrument_id = moved.instrument_id
        and coverage.state = %(before)s::coverage_state
        and not isempty(coverage.sessions - moved.sessions)
)

insert into coverage (dataset, provider, instrument_id, state, sessions)
select
    moved.dataset,
    moved.provider,
    moved.instrument_id,
    %(after)s::coverage_state,
    moved.sessions
from moved
on conflict (dataset, provider, instrument_id, state) do update
    set sessions = coverage.sessions + excluded.sessions, updated_at = now();

-- name: settle_late_rows
-- Merge rows that came after the drop with the archived row of their key. That is the row if they are
-- equal or their answer is older; otherwise it is a version, valid until the first later one.
with
late as materialized (
    select
        {archived_values},
        held.known_from as held_known_from,
        held.ingest_id as held_ingest_id,
        later.known_from as later_known_from,
        later.ingest_id as later_ingest_id,
        coalesce(archived_origin.fetched_at > held_origin.fetched_at, false) as is_newest,
        ({held_row}) is not distinct from ({archived_row}) as is_equal
    from {table} as held
    inner join staged_rows as archived on {same_key}
    left join ingest_log as archived_origin on archived_origin.ingest_id = archived.ingest_id
    left join ingest_log as held_origin on held_origin.ingest_id = held.ingest_id
    left join lateral (
        select version.known_from, version.ingest_id
        from {version} as version
        where {same_version_key} and version.known_from > archived.known_from
        order by version.known_from
        limit 1
    ) as later on true
    where
        held.{dated_by} >= %(start)s
        and held.{dated_by} < %(end)s
        and held.known_from <> archived.known_from
),

kept as (
    insert into {version} ({columns}, known_to, replaced_by_ingest_id)
    select
        {columns},
        coalesce(late.later_known_from, late.held_known_from),
        coalesce(late.later_ingest_id, late.held_ingest_id)
    from late
    where late.later_known_from is not null or not (late.is_equal or late.is_newest)
    -- A row restated before the drop has this version already.
    on conflict do nothing
),

displaced as (
    -- Older answers that restated each other while the newest row was dropped.
    insert into {version} ({columns}, known_to, replaced_by_ingest_id)
    select {held_columns}, statement_timestamp(), archived.ingest_id
    from late as archived
    inner join {table} as held
        on
            {same_key}
            and held.{dated_by} >= %(start)s
            and held.{dated_by} < %(end)s
    where archived.later_known_from is not null and archived.is_newest
)

update {table} as held
set
    {assignments},
    known_from = case
        when archived.later_known_from is null then archived.known_from
        else statement_timestamp()
    end
from late as archived
where
    {same_key}
    and held.{dated_by} >= %(start)s
    and held.{dated_by} < %(end)s
    and (archived.is_newest or (archived.is_equal and archived.later_known_from is null));

-- name: altered_row
-- A held row that differs from the archived one of the same answer.
select
    {key},
    held.ingest_id
from {table} as held
inner join staged_rows as archived on {same_key}
where
    held.{dated_by} >= %(start)s
    and held.{dated_by} < %(end)s
    and held.ingest_id = archived.ingest_id
    and (
        ({held_row}, held.provider) is distinct from ({archived_row}, archived.provider)
        or held.known_from < archived.known_from
    )
order by {key}
limit 1;

-- name: insert_missing
-- Insert archived rows whose key the table does not hold.
insert into {target} ({columns})
select {archived_values}
from staged_rows as archived
where not exists (
    select from {target} as held
    where
        {same_key}
        and held.{dated_by} >= %(start)s
        and held.{dated_by} < %(end)s
);

-- name: insert_all
-- Insert archived rows into a table that holds none of them.
insert into {target} ({columns})
select {archived_values}
from staged_rows as archived;

-- name: strangers
-- One of these instruments that has another ticker or kind in this database.
select
    asked.instrument_id,
    asked.ticker
from unnest(%(instrument_ids)s::bigint[], %(tickers)s::text[]) as asked (instrument_id, ticker)
where
    not exists (
        select from instrument
        where instrument.instrument_id = asked.instrument_id and instrument.kind = %(kind)s
    )
    or (
        asked.ticker is not null
        and not exists (
            select from instrument_ticker as named
            where
                named.instrument_id = asked.instrument_id
                and named.ticker = asked.ticker
        )
    )
order by asked.instrument_id
limit 1;

-- name: make_room
-- Create a table with the same columns in another schema.
create table {target} (
    like {table} including defaults including constraints including indexes including comments
);

-- name: has_table
-- Whether the schema has the table already.
select to_regclass(%(target)s) is not null;

-- name: make_schema
-- Create the schema for rows restored beside the hot ones.
create schema if not exists {schema};

-- name: forget_staged_rows
-- Drop the staged rows of one period before the next.
drop table staged_rows;
