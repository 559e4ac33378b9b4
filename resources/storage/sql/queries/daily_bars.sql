-- name: create_staged_bars
-- Where a batch waits for the merge; dropped when its transaction ends.
create temporary table staged_daily_bar (
    instrument_id bigint not null,
    session_date date not null,
    open double precision not null,
    high double precision not null,
    low double precision not null,
    close double precision not null,
    volume double precision not null
) on commit drop;

-- name: copy_staged_bars
-- Takes pgpq's binary stream.
copy staged_daily_bar (instrument_id, session_date, open, high, low, close, volume)
from stdin with (format binary);

-- name: analyze_staged_bars
-- Temporary tables are never analyzed on their own, and the merge's plan depends on the size.
analyze staged_daily_bar;

-- name: merge_staged_bars
-- Tell new, equal and restated rows apart, and keep what is replaced.
with
compared as materialized (
    -- Equal rows end here: they are neither locked nor written, so they cost no WAL.
    select
        staged.*,
        held.instrument_id is null as is_new,
        coalesce(origin.fetched_at > %(fetched_at)s, false) as is_stale,
        greatest(%(loaded_at)s, held.known_from + interval '1 microsecond') as replaced_at
    from staged_daily_bar as staged
    left join daily_bar as held
        on
            held.instrument_id = staged.instrument_id
            and held.session_date = staged.session_date
            -- The batch's own bounds let the planner leave out the other chunks, and the rows of
            -- other instruments: without the second one, 2,000 bars of one ticker took 200 ms
            -- beside a million others. By name and not by range: see migration 0019.
            and held.session_date between %(first)s and %(last)s
            and held.instrument_id = any(%(instrument_ids)s::bigint[])
    left join ingest_log as origin
        on origin.ingest_id = held.ingest_id
    where
        held.instrument_id is null
        or (
            held.open, held.high, held.low, held.close, held.volume, held.adjustment
        ) is distinct from (
            staged.open, staged.high, staged.low, staged.close, staged.volume,
            %(adjustment)s::bar_adjustment
        )
),

kept as (
    insert into daily_bar_version (
        instrument_id, session_date, open, high, low, close, volume, adjustment, provider,
        ingest_id, known_from, known_to, replaced_by_ingest_id
    )
    select
        held.instrument_id,
        held.session_date,
        held.open,
        held.high,
        held.low,
        held.close,
        held.volume,
        held.adjustment,
        held.provider,
        held.ingest_id,
        held.known_from,
        compared.replaced_at,
        %(ingest_id)s
    from compared
    inner join daily_bar as held
        on
            held.instrument_id = compared.instrument_id
            and held.session_date = compared.session_date
            and held.session_date between %(first)s and %(last)s
            and held.instrument_id = any(%(instrument_ids)s::bigint[])
    where not compared.is_new and not compared.is_stale
),

restated as (
    update daily_bar as held
    set
        open = compared.open,
        high = compared.high,
        low = compared.low,
        close = compared.close,
        volume = compared.volume,
        adjustment = %(adjustment)s::bar_adjustment,
        provider = %(provider)s,
        ingest_id = %(ingest_id)s,
        known_from = compared.replaced_at
    from compared
    where
        held.instrument_id = compared.instrument_id
        and held.session_date = compared.session_date
        and held.session_date between %(first)s and %(last)s
        and held.instrument_id = any(%(instrument_ids)s::bigint[])
        and not compared.is_new
        and not compared.is_stale
),

inserted as (
    insert into daily_bar (
        instrument_id, session_date, open, high, low, close, volume, adjustment, provider,
        ingest_id, known_from
    )
    select
        compared.instrument_id,
        compared.session_date,
        compared.open,
        compared.high,
        compared.low,
        compared.close,
        compared.volume,
        %(adjustment)s::bar_adjustment,
        %(provider)s,
        %(ingest_id)s,
        %(loaded_at)s
    from compared
    where compared.is_new
)

select
    count(*) filter (where compared.is_new) as inserted,
    count(*) filter (where not compared.is_new and not compared.is_stale) as restated,
    count(*) filter (where not compared.is_new and compared.is_stale) as stale
from compared;

-- name: read_bars
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
