-- Parts of statements: resources/storage/aggregates/rollup_sql.py puts them together for each roll-up.
-- Spans are looked up one by one (lateral, enforced by offset 0): if the planner knows
-- little of a young chunk, it would join all spans of a series with all of its rows.

-- name: minutes_within
-- Minute bars within the spans, as rows of a roll-up.
select bar.*
from {spans}
cross join lateral (
    select
        held.instrument_id,
        held.provider,
        held.opened_at as bucket_start,
        null::text as phase,
        held.open,
        held.high,
        held.low,
        held.close,
        held.volume,
        held.vwap * held.volume as turnover,
        held.trades,
        1 as source_bars
    from minute_bar as held
    where
        {same_series}
        and held.opened_at >= span.starts
        and held.opened_at < span.ends
        -- The bounds of all spans let the planner exclude other chunks.
        and held.opened_at >= %(first)s
        and held.opened_at < %(last)s
    offset 0
) as bar

-- name: buckets_within
-- Kept bars within the spans, if both are moments, or both are days.
select bar.*
from {spans}
cross join lateral (
    select held.*
    from {rollup} as held
    where
        {same_series}
        and held.bucket_start >= span.starts
        and held.bucket_start < span.ends
        and held.bucket_start >= %(first)s
        and held.bucket_start < %(last)s
    offset 0
) as bar

-- name: sessions_within
-- Kept bars of a session or a day of UTC within the spans, which are whole days of UTC.
select bar.*
from {spans}
cross join lateral (
    select held.*
    from {rollup} as held
    where
        {same_series}
        and held.bucket_start >= (span.starts at time zone 'UTC')::date
        and held.bucket_start < (span.ends at time zone 'UTC')::date
    offset 0
) as bar

-- name: days_within
-- Daily bars within the spans, as rows of a roll-up.
select bar.*
from {spans}
cross join lateral (
    select
        held.instrument_id,
        held.session_date as bucket_start,
        held.open,
        held.high,
        held.low,
        held.close,
        held.volume,
        held.adjustment,
        1 as source_bars
    from daily_bar as held
    where
        {same_series}
        and held.session_date >= span.starts
        and held.session_date < span.ends
        and held.session_date >= %(first)s
        and held.session_date < %(last)s
    offset 0
) as bar

-- name: minute_spans
-- Spans of time, each of one instrument at one provider, as lists of equal length.
unnest(
    %(instrument_ids)s::bigint[], %(providers)s::text[],
    %(starts)s::timestamptz[], %(ends)s::timestamptz[]
) as span (instrument_id, provider, starts, ends)

-- name: day_spans
-- Spans of days, each of one instrument, as lists of equal length.
unnest(
    %(instrument_ids)s::bigint[], %(starts)s::date[], %(ends)s::date[]
) as span (instrument_id, starts, ends)

-- name: whole_day_spans
-- Spans without a day in the archive only.
(
    select span.*
    from {spans}
    where not days_are_dropped(daterange(span.starts, span.ends))
) as span

-- name: values_of_minutes
-- Values of a bar made of minutes. Sums are taken in the order of time, since the last digit of a
-- sum of doubles depends on it.
first(bar.open, bar.bucket_start) as open,
max(bar.high) as high,
min(bar.low) as low,
last(bar.close, bar.bucket_start) as close,
sum(bar.volume order by bar.bucket_start) as volume,
case when not bool_or(bar.volume > 0 and bar.turnover is null)
    then sum(bar.turnover order by bar.bucket_start) filter (where bar.volume > 0)
end as turnover,
case when count(bar.trades) = count(*) then sum(bar.trades)::bigint end as trades,
sum(bar.source_bars)::integer as source_bars

-- name: buckets_of_minutes
-- Bars shorter than a day, from finer ones.
select
    bar.instrument_id,
    bar.provider,
    date_bin({width}::interval, bar.bucket_start, 'epoch') as bucket_start,
    bar.phase,
    {values}
from ({rows}) as bar
group by 1, 2, 3, 4

-- name: buckets_with_phase
-- The finest bars, with the phase by the session of their day.
select
    bar.instrument_id,
    bar.provider,
    bar.bucket_start,
    case
        when
            instrument.kind = 'pair'
            or (trading.opens_at <= bar.bucket_start and bar.bucket_start < trading.closes_at)
            then 'regular'
        else 'extended'
    end as phase,
    bar.open,
    bar.high,
    bar.low,
    bar.close,
    bar.volume,
    bar.turnover,
    bar.trades,
    bar.source_bars
from ({rows}) as bar
left join instrument on instrument.instrument_id = bar.instrument_id
left join trading_session as trading
    on
        trading.exchange = 'XNYS'
        and trading.session_date = (bar.bucket_start at time zone 'UTC')::date

-- name: sessions_of_minutes
-- Bars of a day: a session is within one UTC day, like the days of pairs.
select
    bar.instrument_id,
    bar.provider,
    (bar.bucket_start at time zone 'UTC')::date as bucket_start,
    {values}
from ({rows}) as bar
where bar.phase = 'regular'
group by 1, 2, 3

-- name: buckets_of_days
-- Weeks and longer, from days or from bars made of them.
select
    bar.instrument_id,
    date_trunc({unit}, bar.bucket_start::timestamp)::date as bucket_start,
    first(bar.open, bar.bucket_start) as open,
    max(bar.high) as high,
    min(bar.low) as low,
    last(bar.close, bar.bucket_start) as close,
    sum(bar.volume order by bar.bucket_start) as volume,
    case when min(bar.adjustment) = max(bar.adjustment) and count(bar.adjustment) = count(*)
        then min(bar.adjustment)
    end as adjustment,
    sum(bar.source_bars)::integer as source_bars
from ({rows}) as bar
group by 1, 2

-- name: refresh
-- Recompute the buckets of the spans; write only those that differ. Differences are found by
-- "except", which never compares all pairs, even if the planner does not know the sizes.
with
fresh as materialized (select {columns} from ({fresh}) as bar),

held as materialized (select {columns} from ({held}) as bar),

written as (
    insert into {rollup} as kept ({columns})
    select fresh.* from fresh
    except
    select held.* from held
    on conflict ({key}) do update
        set ({values}) = ({excluded_values})
    returning 1
),

emptied as (
    delete from {rollup} as kept
    using (
        select {key} from held
        except
        select {key} from fresh
    ) as gone
    where {same_bucket}
    returning 1
)

select
    (select count(*) from written) + (select count(*) from emptied) as changed,
    (select count(*) from fresh) as recomputed

-- name: differences
-- Kept bars that differ from a recomputation; waiting and frozen ones are left out.
with
fresh as materialized (select {columns} from ({fresh}) as bar),

held as materialized (select {columns} from ({held}) as bar),

lacking as (
    select fresh.* from fresh
    except
    select held.* from held
),

surplus as (
    select held.* from held
    except
    select fresh.* from fresh
),

differing as (
    select
        {key},
        case
            when surplus.open is null then 'this bar is missing'
            when lacking.open is null then 'nothing belongs to this bar'
            else 'the values differ'
        end as difference
    from lacking
    full join surplus using ({key})
)

{judged}
order by {key}
limit %(limit)s

-- name: judged_minutes
-- Of differing bars made of minutes, those without a waiting invalidation that are not frozen.
select
    differing.instrument_id,
    differing.provider,
    differing.bucket_start,
    differing.difference
from differing
left join instrument on instrument.instrument_id = differing.instrument_id
cross join lateral (
    select tstzrange({start}, {start} + {length}::interval) as span
) as looked_at
where
    not minutes_are_dropped(instrument.kind, looked_at.span)
    and not exists (
        select from minute_bar_invalidation as waiting
        where
            waiting.instrument_id = differing.instrument_id
            and waiting.provider = differing.provider
            and waiting.span && looked_at.span
    )

-- name: judged_days
-- Of differing bars made of days, those without a waiting invalidation that are not frozen.
select
    differing.instrument_id,
    '' as provider,
    differing.bucket_start,
    differing.difference
from differing
cross join lateral (
    select
        daterange(
            differing.bucket_start, (differing.bucket_start + {length}::interval)::date
        ) as span
) as looked_at
where
    not days_are_dropped(looked_at.span)
    and not exists (
        select from daily_bar_invalidation as waiting
        where
            waiting.instrument_id = differing.instrument_id
            and waiting.span && looked_at.span
    )

-- name: count_rows
-- Number of bars in a roll-up.
select count(*) from {rollup}

-- name: compared_instruments
-- Instruments with bars in a period, in the source or kept. One probe of the key per instrument:
-- of 500 shares, few have minutes, and the chunks of a period are few.
select instrument.instrument_id
from instrument
where {in_source} or {is_kept}
order by instrument.instrument_id

-- name: occurs
-- Whether an instrument has rows in a period; offset 0 keeps the planner from reading all rows.
exists (
    select
    from {bars} as held
    where
        held.instrument_id = instrument.instrument_id
        and held.{start} >= {first}
        and held.{start} < {last}
    offset 0
)

-- name: midnight
-- The moment at which a UTC day begins.
({day}::timestamp at time zone 'UTC')

-- name: compared_days
-- First and last day that may have bars or aggregates; null if there are none.
select
    min(days.first)::date as first,
    max(days.last)::date as last
from (
    select
        (chunk.range_start at time zone 'UTC')::date as first,
        (chunk.range_end at time zone 'UTC')::date as last
    from timescaledb_information.chunks as chunk
    where
        chunk.hypertable_schema = 'public'
        and chunk.hypertable_name in (%(source)s, 'rollup_5m', 'rollup_15m', 'rollup_1h')
    union all
    select
        min(kept.bucket_start) as first,
        max(kept.bucket_start) as last
    from rollup_1d as kept
    union all
    select
        min(kept.bucket_start) as first,
        max(kept.bucket_start) + 7 as last
    from rollup_1w as kept
) as days
