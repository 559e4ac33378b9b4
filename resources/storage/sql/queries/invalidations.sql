-- name: last_of_minute_bar
-- The newest invalidation: later ones are left to the next refresh.
select max(invalidation_id) from minute_bar_invalidation;

-- name: last_of_daily_bar
-- The newest invalidation: later ones are left to the next refresh.
select max(invalidation_id) from daily_bar_invalidation;

-- name: claim_minutes
-- Claim the oldest invalidations, as many as one transaction should recompute.
with
locked as materialized (
    -- Those locked by another refresh are skipped; those of days in the archive only go on waiting.
    select
        waiting.invalidation_id,
        waiting.span
    from minute_bar_invalidation as waiting
    left join instrument on instrument.instrument_id = waiting.instrument_id
    where
        waiting.invalidation_id <= %(last)s
        and not minutes_are_dropped(instrument.kind, waiting.span)
    order by waiting.invalidation_id
    limit %(most)s
    for update of waiting skip locked
),

counted as (
    select
        locked.invalidation_id,
        sum(upper(locked.span) - lower(locked.span)) over (
            order by locked.invalidation_id
        ) - (upper(locked.span) - lower(locked.span)) as before
    from locked
)

delete from minute_bar_invalidation as waiting
using counted
where
    waiting.invalidation_id = counted.invalidation_id
    and counted.before < %(extent)s
returning
    waiting.instrument_id,
    waiting.provider,
    lower(waiting.span) as starts,
    upper(waiting.span) as ends;

-- name: claim_days
-- Claim the oldest invalidations, as many as one transaction should recompute.
delete from daily_bar_invalidation
where invalidation_id in (
    select waiting.invalidation_id
    from daily_bar_invalidation as waiting
    where
        waiting.invalidation_id <= %(last)s
        and not days_are_dropped(waiting.span)
    order by waiting.invalidation_id
    limit %(most)s
    for update skip locked
)
returning instrument_id, '' as provider, lower(span) as starts, upper(span) as ends;

-- name: postpone_frozen_weeks
-- Put back invalidations of weeks with days in the archive only, until these are restored.
insert into daily_bar_invalidation (instrument_id, span)
select
    week.instrument_id,
    daterange(week.starts, week.ends) * dropped.span
from unnest(
    %(instrument_ids)s::bigint[], %(starts)s::date[], %(ends)s::date[]
) as week (instrument_id, starts, ends)
inner join archive_tombstone as dropped
    on
        dropped.restored_at is null
        and dropped.dataset = 'daily_bars'
        and dropped.span && daterange(week.starts, week.ends);

-- name: count_of_minute_bar
-- Number of waiting invalidations of minute bars.
select count(*) from minute_bar_invalidation;

-- name: count_of_daily_bar
-- Number of waiting invalidations of daily bars.
select count(*) from daily_bar_invalidation;

-- name: oldest_of_minute_bar
-- Time of the oldest invalidation that a refresh would settle.
select min(waiting.noted_at)
from minute_bar_invalidation as waiting
left join instrument on instrument.instrument_id = waiting.instrument_id
where not minutes_are_dropped(instrument.kind, waiting.span);

-- name: oldest_of_daily_bar
-- Time of the oldest invalidation that a refresh would settle.
select min(waiting.noted_at)
from daily_bar_invalidation as waiting
where not days_are_dropped(waiting.span);

-- name: lock_instruments
-- Two refreshes of one instrument run one after the other, so that the one with the newer
-- bars also writes last. A fixed order keeps them from deadlocking.
select pg_advisory_xact_lock(hashtext('wrdata.aggregates.' || %(source)s::text), buckets.bucket)
from (
    select distinct (wanted.instrument_id %% 256)::integer as bucket
    from unnest(%(instrument_ids)s::bigint[]) as wanted (instrument_id)
    order by bucket
) as buckets;

-- name: invalidate_all_of_minute_bar
-- Invalidate all source rows and all kept bars, one invalidation per month.
-- Bars of dropped days cannot be recomputed and stay. The first five minutes of a bar are enough,
-- since a refresh recomputes whole bars.
with
kept as (
    select
        bars.instrument_id,
        bars.provider,
        tstzrange(min(bars.starts), max(bars.starts) + interval '5 minutes') as span
    from (
        select instrument_id, provider, bucket_start as starts from rollup_5m
        union all
        select instrument_id, provider, bucket_start as starts from rollup_15m
        union all
        select instrument_id, provider, bucket_start as starts from rollup_1h
        union all
        select instrument_id, provider, bucket_start::timestamp at time zone 'UTC' as starts
        from rollup_1d
    ) as bars
    group by bars.instrument_id, bars.provider, date_trunc('month', bars.starts, 'UTC')
)

insert into minute_bar_invalidation (instrument_id, provider, span)
select
    bar.instrument_id,
    bar.provider,
    tstzrange(
        date_bin('5 minutes', min(bar.opened_at), 'epoch'),
        date_bin('5 minutes', max(bar.opened_at), 'epoch') + interval '5 minutes'
    ) as span
from minute_bar as bar
group by bar.instrument_id, bar.provider, date_trunc('month', bar.opened_at, 'UTC')
union all
select
    kept.instrument_id,
    kept.provider,
    kept.span
from kept
left join instrument on instrument.instrument_id = kept.instrument_id
where not minutes_are_dropped(instrument.kind, kept.span);

-- name: invalidate_all_of_daily_bar
-- The same for days, one invalidation per year.
with
kept as (
    select
        bars.instrument_id,
        daterange(min(bars.starts), max(bars.starts) + 1) as span
    from (
        select instrument_id, bucket_start as starts from rollup_1w
        union all
        select instrument_id, bucket_start as starts from rollup_1mo
        union all
        select instrument_id, bucket_start as starts from rollup_1q
        union all
        select instrument_id, bucket_start as starts from rollup_1y
    ) as bars
    group by bars.instrument_id, extract(year from bars.starts)
)

insert into daily_bar_invalidation (instrument_id, span)
select
    bar.instrument_id,
    daterange(min(bar.session_date), max(bar.session_date) + 1) as span
from daily_bar as bar
group by bar.instrument_id, extract(year from bar.session_date)
union all
select
    kept.instrument_id,
    kept.span
from kept
where not days_are_dropped(kept.span);
