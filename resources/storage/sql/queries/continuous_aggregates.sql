-- What TimescaleDB's Community edition keeps bars with; aggregates/continuous_engine.py in
-- resources/storage puts the parts together. Nothing of it is a migration, since other editions have none of it.

-- name: is_in_force
-- Whether continuous aggregates keep the bars of this database.
select to_regnamespace('continuous') is not null;

-- name: five_minutes_of_shares
-- Told apart by the session of their day.
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
-- Always regular: they trade around the clock.
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
-- What a bar of five minutes says; sums of doubles depend on their order in the last digit.
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
-- A session of New York lies within one day of UTC, as the days of pairs do.
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
-- What a bar says of finer ones.
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
-- Serves one instrument's bars in order.
create index on {aggregate} ({key});

-- name: keep_up
-- Let the server refresh the last days on its own; there is nothing to drop in them yet.
select add_continuous_aggregate_policy(
    {aggregate},
    start_offset => interval '4 days',
    end_offset => interval '0',
    schedule_interval => interval '15 minutes',
    if_not_exists => true
);

-- name: stop_keeping_up
-- The server refreshes nothing on its own any more; a refresh that it is at is cancelled.
select remove_continuous_aggregate_policy({aggregate}, if_exists => true);

-- name: kept_bars_shorter_than_a_day
-- Shares and pairs together, as the roll-up of the same name has them.
create view {kept} as
select * from {shares}
union all
select * from {pairs};

-- name: kept_sessions
-- Shares and pairs together, named by the day.
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
-- Days whose bars exist in the aggregates alone, since their source is in the archive only.
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
-- No bar is written, no refresh settles anything and nobody else switches until the commit.
lock table
minute_bar, daily_bar, minute_bar_invalidation, daily_bar_invalidation, trading_session
in {mode} mode;

-- name: empty_roll_up
-- Its rows would be out of date as soon as the other engine keeps the bars.
truncate {roll_up};

-- name: fill_roll_up
-- Every bar as the other engine has it; what waits, goes on waiting.
insert into {roll_up}
select * from {kept};

-- name: release_roll_ups
-- Roll-ups may be written again.
drop function continuous.refuse_roll_ups() cascade;

-- name: drop_schema
-- All that exists because of the engine: aggregates, their policies, triggers.
drop schema continuous cascade;

-- name: read_bars_shorter_than_a_day
-- Let readers see these bars.
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
-- Let readers see these bars.
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
-- Let readers see these bars.
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
-- One refresh of a source at a time; for the session, since a refresh is no transaction.
select pg_advisory_lock(hashtext('wrdata.continuous_aggregates'), hashtext(%(source)s));

-- name: lock_refresh_until_commit
-- The same for a transaction: an engine is not changed beside a refresh.
select pg_advisory_xact_lock(hashtext('wrdata.continuous_aggregates'), hashtext(%(source)s));

-- name: unlock_refresh
-- Let the next one go.
select pg_advisory_unlock(hashtext('wrdata.continuous_aggregates'), hashtext(%(source)s));

-- name: waiting_for_minute_bar
-- What waits, by month, oldest first: the days of UTC to refresh, and which invalidations that settles.
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
-- What waits, by year, oldest first: the days, and which invalidations their refresh settles.
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
-- Days whose session has changed since bars were told apart by it.
select changed.session_date
from continuous.changed_session as changed
where
    changed.session_date >= (%(start)s::timestamptz at time zone 'UTC')::date
    and changed.session_date < (%(end)s::timestamptz at time zone 'UTC')::date
order by changed.session_date;

-- name: forget_sessions
-- The bars of these days follow the calendar again.
delete from continuous.changed_session
where session_date = any(%(days)s::date[]);

-- name: refresh
-- Materialize what has changed within this time; in commits of its own.
call refresh_continuous_aggregate({aggregate}, {start}, {end}, {force});

-- name: count_within
-- How many bars there are within what was refreshed.
select count(*)
from {aggregate}
where bucket_start >= %(start)s and bucket_start < %(end)s;

-- name: settle_minute_bar
-- These invalidations are done.
delete from minute_bar_invalidation
where invalidation_id = any(%(invalidation_ids)s::bigint[]);

-- name: settle_daily_bar
-- These are done; of a week of which some days lie in the archive only, those go on waiting.
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
