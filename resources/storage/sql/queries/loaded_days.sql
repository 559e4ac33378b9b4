-- name: count_loaded
-- Count the days of a batch. After a merge, all rows of its days are counted; a day
-- that has lost rows keeps its count until it has that many again.
insert into loaded_day as known (dataset, provider, instrument_id, day, rows)
select
    %(dataset)s,
    %(provider)s,
    given.instrument_id,
    given.day,
    case when before.rows is null and %(are_all_new)s then given.rows else held.rows end
from unnest(
    %(instrument_ids)s::bigint[], %(days)s::date[], %(rows)s::bigint[]
) as given (instrument_id, day, rows)
left join loaded_day as before
    on
        before.dataset = %(dataset)s
        and before.provider = %(provider)s
        and before.instrument_id = given.instrument_id
        and before.day = given.day
cross join lateral (
    select count(*) as rows
    from {table} as bar
    where
        -- If all rows are new, of a day without rows, none have to be counted in the table.
        (before.rows is not null or not %(are_all_new)s)
        and bar.instrument_id = given.instrument_id
        and bar.provider = %(provider)s
        and bar.{dated_by} >= given.day::timestamp at time zone %(zone)s
        and bar.{dated_by} < (given.day + 1)::timestamp at time zone %(zone)s
) as held
order by given.instrument_id, given.day
on conflict (dataset, provider, instrument_id, day) do update
    set rows = excluded.rows
    where excluded.rows > known.rows;

-- name: count_restored
-- Count the days of a period that was restored from the archive.
insert into loaded_day as known (dataset, provider, instrument_id, day, rows)
select
    %(dataset)s,
    held.provider,
    held.instrument_id,
    (held.{dated_by} at time zone %(zone)s)::date as day,
    count(*) as rows
from {table} as held
inner join instrument on instrument.instrument_id = held.instrument_id
where
    held.{dated_by} >= %(start)s
    and held.{dated_by} < %(end)s
    and instrument.kind = %(kind)s
group by held.provider, held.instrument_id, day
order by held.provider, held.instrument_id, day
on conflict (dataset, provider, instrument_id, day) do update
    set rows = excluded.rows
    where excluded.rows > known.rows;

-- name: months_loaded
-- The months in which a dataset has loaded days.
select distinct date_trunc('month', known.day)::date as month
from loaded_day as known
where known.dataset = %(dataset)s and known.day >= %(start)s and known.day < %(end)s
order by month;

-- name: lost_days
-- Days with fewer rows than were loaded, except those in the archive only. A sample is of
-- instruments, different ones each month.
select
    known.provider,
    known.instrument_id,
    known.day,
    known.rows as loaded,
    held.rows as held
from loaded_day as known
cross join lateral (
    select count(*) as rows
    from {table} as bar
    where
        bar.instrument_id = known.instrument_id
        and bar.provider = known.provider
        -- The bounds of all days let the planner exclude other chunks.
        and bar.{dated_by} >= %(begins_at)s
        and bar.{dated_by} < %(ends_at)s
        and bar.{dated_by} >= known.day::timestamp at time zone %(zone)s
        and bar.{dated_by} < (known.day + 1)::timestamp at time zone %(zone)s
) as held
where
    known.dataset = %(dataset)s
    and known.day >= %(start)s
    and known.day < %(end)s
    and known.instrument_id = any(coalesce(%(instrument_ids)s::bigint[], array[known.instrument_id]))
    and (
        %(part)s >= 1
        or mod(hashint8extended(known.instrument_id, %(seed)s) & 1048575, 1000) < %(part)s * 1000
    )
    and not exists (
        select from archive_tombstone as gone
        where
            gone.dataset = known.dataset
            and gone.restored_at is null
            and tstzrange(
                lower(gone.span)::timestamp at time zone 'UTC',
                upper(gone.span)::timestamp at time zone 'UTC'
            ) && tstzrange(
                known.day::timestamp at time zone %(zone)s,
                (known.day + 1)::timestamp at time zone %(zone)s
            )
    )
    and held.rows < known.rows
order by known.provider, known.instrument_id, known.day;

-- name: lost_sessions
-- Sessions whose daily bar was loaded, from any provider, and is missing.
select
    ledger.provider,
    ledger.instrument_id,
    session.day,
    1 as loaded,
    0 as held
from coverage as ledger
cross join unnest(ledger.sessions) as piece (days)
inner join unnest(%(sessions)s::date[]) as session (day) on piece.days @> session.day
where
    ledger.dataset = %(dataset)s
    and ledger.state in ('complete', 'provisional')
    and ledger.instrument_id = any(
        coalesce(%(instrument_ids)s::bigint[], array[ledger.instrument_id])
    )
    and (
        %(part)s >= 1
        or mod(hashint8extended(ledger.instrument_id, %(seed)s) & 1048575, 1000) < %(part)s * 1000
    )
    and not exists (
        select from daily_bar as bar
        where bar.instrument_id = ledger.instrument_id and bar.session_date = session.day
    )
    and not exists (
        select from archive_tombstone as gone
        where
            gone.dataset = %(dataset)s
            and gone.restored_at is null
            and gone.span @> session.day
    )
order by ledger.provider, ledger.instrument_id, session.day;

-- name: tickers
-- The present or last ticker of each instrument.
select distinct on (named.instrument_id)
    named.instrument_id,
    named.ticker
from instrument_ticker as named
where named.instrument_id = any(%(instrument_ids)s::bigint[])
order by named.instrument_id asc, upper(named.valid) desc nulls first;

-- name: lower_counts
-- Lower the counts to the held rows, until the lost ones are loaded again.
with lost as (
    select
        given.provider,
        given.instrument_id,
        given.day,
        given.held
    from unnest(
        %(providers)s::text[], %(instrument_ids)s::bigint[], %(days)s::date[], %(held)s::bigint[]
    ) as given (provider, instrument_id, day, held)
),

emptied as (
    delete from loaded_day as known
    using lost
    where
        known.dataset = %(dataset)s
        and known.provider = lost.provider
        and known.instrument_id = lost.instrument_id
        and known.day = lost.day
        and lost.held = 0
)

update loaded_day as known
set rows = lost.held
from lost
where
    known.dataset = %(dataset)s
    and known.provider = lost.provider
    and known.instrument_id = lost.instrument_id
    and known.day = lost.day
    and lost.held > 0;

-- name: take_back
-- Take away the state of days in one ledger of an instrument; the caller sets a new one.
with
held as (
    select
        ledger.state,
        ledger.sessions - %(days)s::datemultirange as rest
    from coverage as ledger
    where
        ledger.dataset = %(dataset)s
        and ledger.provider = %(provider)s
        and ledger.instrument_id = %(instrument_id)s
        and ledger.state in ('complete', 'provisional')
        and ledger.sessions && %(days)s::datemultirange
),

emptied as (
    delete from coverage
    using held
    where
        coverage.dataset = %(dataset)s
        and coverage.provider = %(provider)s
        and coverage.instrument_id = %(instrument_id)s
        and coverage.state = held.state
        and isempty(held.rest)
)

update coverage
set sessions = held.rest, updated_at = now()
from held
where
    coverage.dataset = %(dataset)s
    and coverage.provider = %(provider)s
    and coverage.instrument_id = %(instrument_id)s
    and coverage.state = held.state
    and not isempty(held.rest);
