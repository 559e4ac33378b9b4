-- Parts of the statements for TimescaleDB's Community edition; aggregates/continuous_engine.py in
-- resources/storage puts them together. They are no migration, since other editions lack the feature.

-- name: is_in_force
-- Whether continuous aggregates keep the bars of this database.
select to_regnamespace('continuous') is not null;

-- name: five_minutes_of_shares
-- Bars of five minutes of shares, with the phase by the session of their day.
create materialized view {aggregate}
with (
    timescaledb.continuous,
    timescaledb.materialized_only = false,
    timescaledb.create_group_indexes = false
) as
select
    bar.instrument_id,
    bar.provider,
    time_bucket('5 minutes', bar.opened_at) as bucket_start,
    case when trading.exchange is null then 'extended' else 'regular' end as phase,
    {values}
from minute_bar as bar
inner join instrument
    on instrument.instrument_id = bar.instrument_id and instrument.kind <> 'pair'
left join trading_session as trading
    on
        trading.exchange = 'XNYS'
        and trading.session_date = (bar.opened_at at time zone 'UTC')::date
        and trading.opens_at <= bar.opened_at
        and bar.opened_at < trading.closes_at
group by
    bar.instrument_id,
    bar.provider,
    time_bucket('5 minutes', bar.opened_at),
    case when trading.exchange is null then 'extended' else 'regular' end
with no data;

-- name: five_minutes_of_pairs
-- Bars of five minutes of pairs: always regular, since they trade around the clock.
create materialized view {aggregate}
with (
    timescaledb.continuous,
    timescaledb.materialized_only = false,
    timescaledb.create_group_indexes = false
) as
select
    bar.instrument_id,
    bar.provider,
    time_bucket('5 minutes', bar.opened_at) as bucket_start,
    'regular'::text as phase,
    {values}
from minute_bar as bar
inner join instrument
    on instrument.instrument_id = bar.instrument_id and instrument.kind = 'pair'
group by
    bar.instrument_id,
    bar.provider,
    time_bucket('5 minutes', bar.opened_at)
with no data;

-- name: values_of_minutes
-- Values of a bar of five minutes; the last digit of a sum of doubles depends on the order.
first(bar.open, bar.opened_at) as open,
max(bar.high) as high,
min(bar.low) as low,
last(bar.close, bar.opened_at) as close,
sum(bar.volume order by bar.opened_at) as volume,
case when not bool_or(bar.volume > 0 and bar.vwap is null)
    then sum(bar.vwap * bar.volume order by bar.opened_at) filter (where bar.volume > 0)
end as turnover,
case when count(bar.trades) = count(*) then sum(bar.trades)::bigint end as trades,
count(*)::integer as source_bars

-- name: longer_than_five_minutes
-- Bars shorter than a day, from finer ones.
create materialized view {aggregate}
with (
    timescaledb.continuous,
    timescaledb.materialized_only = false,
    timescaledb.create_group_indexes = false
) as
select
    bar.instrument_id,
    bar.provider,
    time_bucket({width}, bar.bucket_start) as bucket_start,
    bar.phase,
    {values}
from {finer} as bar
group by bar.instrument_id, bar.provider, time_bucket({width}, bar.bucket_start), bar.phase
with no data;

-- name: sessions
-- Bars of a day: a session of New York is within one UTC day, like the days of pairs.
create materialized view {aggregate}
with (
    timescaledb.continuous,
    timescaledb.materialized_only = false,
    timescaledb.create_group_indexes = false
) as
select
    bar.instrument_id,
    bar.provider,
    time_bucket({width}, bar.bucket_start) as bucket_start,
    {values}
from {finer} as bar
where bar.phase = 'regular'
group by bar.instrument_id, bar.provider, time_bucket({width}, bar.bucket_start)
with no data;

-- name: values_of_finer_bars
-- Values of a bar made of finer ones.
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

-- name: made_of_daily_bars
-- Weeks and months.
create materialized view {aggregate}
with (
    timescaledb.continuous,
    timescaledb.materialized_only = false,
    timescaledb.create_group_indexes = false
) as
select
    bar.instrument_id,
    time_bucket({width}, bar.session_date) as bucket_start,
    first(bar.open, bar.session_date) as open,
    max(bar.high) as high,
    min(bar.low) as low,
    last(bar.close, bar.session_date) as close,
    sum(bar.volume order by bar.session_date) as volume,
    case when min(bar.adjustment) = max(bar.adjustment) then min(bar.adjustment) end as adjustment,
    count(*)::integer as source_bars
from daily_bar as bar
group by bar.instrument_id, time_bucket({width}, bar.session_date)
with no data;

-- name: made_of_months
-- Quarters from months, years from quarters.
create materialized view {aggregate}
with (
    timescaledb.continuous,
    timescaledb.materialized_only = false,
    timescaledb.create_group_indexes = false
) as
select
    bar.instrument_id,
    time_bucket({width}, bar.bucket_start) as bucket_start,
    first(bar.open, bar.bucket_start) as open,
    max(bar.high) as high,
    min(bar.low) as low,
    last(bar.close, bar.bucket_start) as close,
    sum(bar.volume order by bar.bucket_start) as volume,
    case when min(bar.adjustment) = max(bar.adjustment) and count(bar.adjustment) = count(*)
        then min(bar.adjustment)
    end as adjustment,
    sum(bar.source_bars)::integer as source_bars
from {finer} as bar
group by bar.instrument_id, time_bucket({width}, bar.bucket_start)
with no data;

-- name: index_aggregate
-- Index for one instrument's bars in order.
create index on {aggregate} ({key});

-- name: keep_up
-- Let the server refresh the last days by policy; these days are never dropped.
select add_continuous_aggregate_policy(
    {aggregate},
    start_offset => interval '4 days',
    end_offset => interval '0',
    schedule_interval => interval '15 minutes',
    if_not_exists => true
);

-- name: stop_keeping_up
-- Remove the server's refresh policy; a running refresh is cancelled.
select remove_continuous_aggregate_policy({aggregate}, if_exists => true);

-- name: kept_bars_shorter_than_a_day
-- View of shares and pairs together, with the columns of the roll-up of that name.
create view {kept} as
select * from {shares}
union all
select * from {pairs};

-- name: kept_sessions
-- View of the days of shares and pairs together, by date.
create view {kept} as
select
    bar.instrument_id,
    bar.provider,
    (bar.bucket_start at time zone 'UTC')::date as bucket_start,
    bar.open,
    bar.high,
    bar.low,
    bar.close,
    bar.volume,
    bar.turnover,
    bar.trades,
    bar.source_bars
from (
    select * from {shares}
    union all
    select * from {pairs}
) as bar;

-- name: frozen_days
-- Days whose source is in the archive only, so that their bars exist only as aggregates.
select
    dropped.dataset,
    lower(dropped.span) as starts,
    upper(dropped.span) as ends
from archive_tombstone as dropped
where
    dropped.restored_at is null
    and dropped.dataset in ('minute_bars', 'crypto_bars', 'daily_bars')
order by dropped.dataset, dropped.span;

-- name: lock_engine
-- Block writers, refreshes and other changes of the engine until the commit.
lock table
minute_bar, daily_bar, minute_bar_invalidation, daily_bar_invalidation, trading_session
in {mode} mode;

-- name: empty_roll_up
-- Empty a roll-up: its rows would be out of date under the other engine.
truncate {roll_up};

-- name: fill_roll_up
-- Copy every bar of the other engine into the roll-up; invalidations go on waiting.
insert into {roll_up}
select * from {kept};

-- name: release_roll_ups
-- Allow writing to the roll-ups again.
drop function continuous.refuse_roll_ups() cascade;

-- name: drop_schema
-- Drop everything of the engine: aggregates, policies, triggers.
drop schema continuous cascade;

-- name: read_bars_shorter_than_a_day
-- Point a reader's view to these bars.
create or replace view {bars} as
select
    instrument_id,
    provider,
    bucket_start,
    phase,
    open,
    high,
    low,
    close,
    volume,
    turnover / nullif(volume, 0) as vwap,
    trades,
    source_bars
from {kept};

-- name: read_sessions
-- Point a reader's view to these bars.
create or replace view {bars} as
select
    instrument_id,
    provider,
    bucket_start,
    open,
    high,
    low,
    close,
    volume,
    turnover / nullif(volume, 0) as vwap,
    trades,
    source_bars
from {kept};

-- name: read_days
-- Point a reader's view to these bars.
create or replace view {bars} as
select
    instrument_id,
    bucket_start,
    open,
    high,
    low,
    close,
    volume,
    null::double precision as vwap,
    adjustment,
    source_bars
from {kept};

-- name: lock_refresh
-- Lock for one refresh of a source at a time; of the session, since a refresh is no transaction.
select pg_advisory_lock(hashtext('wrdata.continuous_aggregates'), hashtext(%(source)s));

-- name: lock_refresh_until_commit
-- The same lock for a transaction: the engine is not changed during a refresh.
select pg_advisory_xact_lock(hashtext('wrdata.continuous_aggregates'), hashtext(%(source)s));

-- name: unlock_refresh
-- Release the lock of a refresh.
select pg_advisory_unlock(hashtext('wrdata.continuous_aggregates'), hashtext(%(source)s));

-- name: waiting_for_minute_bar
-- Waiting invalidations by month, oldest first, with the UTC days to refresh.
with
waiting as (
    select
        invalidation.invalidation_id,
        invalidation.instrument_id,
        case instrument.kind when 'pair' then 'pairs' else 'shares' end as family,
        date_trunc('month', lower(invalidation.span), 'UTC') as month,
        tstzrange(
            date_trunc('day', lower(invalidation.span), 'UTC'),
            date_trunc('day', upper(invalidation.span) - interval '1 microsecond', 'UTC')
            + interval '1 day'
        ) as days
    from minute_bar_invalidation as invalidation
    left join instrument on instrument.instrument_id = invalidation.instrument_id
    where not minutes_are_dropped(instrument.kind, invalidation.span)
)

select
    waiting.family,
    array_agg(waiting.invalidation_id) as invalidation_ids,
    array_agg(distinct waiting.instrument_id) as instrument_ids,
    array(select lower(joined.days) from unnest(range_agg(waiting.days)) as joined (days)) as starts,
    array(select upper(joined.days) from unnest(range_agg(waiting.days)) as joined (days)) as ends
from waiting
group by waiting.month, waiting.family
order by waiting.month, waiting.family;

-- name: waiting_for_daily_bar
-- Waiting invalidations by year, oldest first, with the days to refresh.
select
    '' as family,
    array_agg(waiting.invalidation_id) as invalidation_ids,
    array_agg(distinct waiting.instrument_id) as instrument_ids,
    array(select lower(joined.days) from unnest(range_agg(waiting.span)) as joined (days)) as starts,
    array(select upper(joined.days) from unnest(range_agg(waiting.span)) as joined (days)) as ends
from daily_bar_invalidation as waiting
where not days_are_dropped(waiting.span)
group by extract(year from lower(waiting.span))
order by extract(year from lower(waiting.span));

-- name: changed_sessions
-- Days whose session has changed since their bars were aggregated.
select changed.session_date
from continuous.changed_session as changed
where
    changed.session_date >= (%(start)s::timestamptz at time zone 'UTC')::date
    and changed.session_date < (%(end)s::timestamptz at time zone 'UTC')::date
order by changed.session_date;

-- name: forget_sessions
-- Mark these days as refreshed.
delete from continuous.changed_session
where session_date = any(%(days)s::date[]);

-- name: refresh
-- Materialize changes within this time; commits by itself.
call refresh_continuous_aggregate({aggregate}, {start}, {end}, {force});

-- name: count_within
-- Number of bars within the refreshed time.
select count(*)
from {aggregate}
where bucket_start >= %(start)s and bucket_start < %(end)s;

-- name: settle_minute_bar
-- Remove settled invalidations.
delete from minute_bar_invalidation
where invalidation_id = any(%(invalidation_ids)s::bigint[]);

-- name: settle_daily_bar
-- Remove settled invalidations, except in weeks with days in the archive only: they go on waiting.
with
settled as (
    delete from daily_bar_invalidation
    where invalidation_id = any(%(invalidation_ids)s::bigint[])
    returning instrument_id, span
),

weeks as (
    select distinct
        settled.instrument_id,
        daterange(
            date_trunc('week', lower(settled.span)::timestamp)::date,
            date_trunc('week', (upper(settled.span) - 1)::timestamp)::date + 7
        ) as span
    from settled
)

insert into daily_bar_invalidation (instrument_id, span)
select
    weeks.instrument_id,
    weeks.span * dropped.span
from weeks
inner join archive_tombstone as dropped
    on
        dropped.restored_at is null
        and dropped.dataset = 'daily_bars'
        and dropped.span && weeks.span;
