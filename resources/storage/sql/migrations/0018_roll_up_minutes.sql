-- Bars of every interval, raw and adjusted: what readers see, what an engine keeps behind it, and
-- the log of what no longer equals its source.

-- Weekly and monthly bars are made anew, in tables that say what their prices are adjusted for.
drop view bars_1w;
drop view bars_1mo;
drop table bar_rollup;
drop table rollup_invalidation;
drop function bar_bucket_end;
drop function bar_bucket;
drop type bar_interval;

create table trading_session (
    exchange text not null,
    session_date date not null,
    opens_at timestamptz not null,
    closes_at timestamptz not null,
    -- Serves the phase of a bar: the session of its day.
    primary key (exchange, session_date),
    constraint trading_session_lasts check (opens_at < closes_at),
    -- So that the day of UTC of a bar within a session is the session's own.
    constraint trading_session_is_within_its_day check (
        (opens_at at time zone 'UTC')::date = session_date
        and (closes_at at time zone 'UTC')::date = session_date
    ),
    -- So that a bar of five or fifteen minutes never holds both phases.
    constraint trading_session_is_of_whole_quarter_hours check (
        date_bin('15 minutes', opens_at, 'epoch') = opens_at
        and date_bin('15 minutes', closes_at, 'epoch') = closes_at
    )
);
comment on table trading_session is
'The exchange calendar as marketdata.calendars has it, half days and overrides included; kept equal by the refresh of aggregates.';

-- The log of invalidations. Triggers write it in the transaction of whoever writes bars, so it
-- survives every crash and no writer can forget it.

create table minute_bar_invalidation (
    invalidation_id bigint generated always as identity primary key,
    instrument_id bigint not null,
    provider text not null,
    span tstzrange not null,
    constraint minute_bar_invalidation_is_some_time check (not isempty(span))
);
comment on table minute_bar_invalidation is
'Whole buckets of five minutes, within a month of UTC, whose bars no longer equal minute_bar; those of days that lie in the archive only wait until these are restored.';

create table daily_bar_invalidation (
    invalidation_id bigint generated always as identity primary key,
    instrument_id bigint not null,
    span daterange not null,
    constraint daily_bar_invalidation_is_some_time check (not isempty(span))
);
comment on table daily_bar_invalidation is
'Days within a year whose weeks, months, quarters and years no longer equal daily_bar.';

-- Serves "does anything wait for this bucket".
create index minute_bar_invalidation_of on minute_bar_invalidation
using gist (instrument_id, span);
create index daily_bar_invalidation_of on daily_bar_invalidation
using gist (instrument_id, span);

-- What lies in the archive only is frozen: its aggregates stay, and invalidations of it wait.

create function minutes_are_dropped(kind text, moments tstzrange) returns boolean
language sql stable
return exists (
    select from archive_tombstone as dropped
    where
        dropped.restored_at is null
        and dropped.dataset = case kind when 'pair' then 'crypto_bars' else 'minute_bars' end
        and moments && tstzrange(
            lower(dropped.span)::timestamp at time zone 'UTC',
            upper(dropped.span)::timestamp at time zone 'UTC'
        )
);

create function days_are_dropped(days daterange) returns boolean
language sql stable
return exists (
    select from archive_tombstone as dropped
    where
        dropped.restored_at is null
        and dropped.dataset = 'daily_bars'
        and days && dropped.span
);

create function invalidate_minute_bars() returns trigger
language plpgsql as $$
begin
    insert into minute_bar_invalidation (instrument_id, provider, span)
    select
        joined.instrument_id,
        joined.provider,
        unnest(joined.spans)
    from (
        select
            touched.instrument_id,
            touched.provider,
            range_agg(
                tstzrange(touched.bucket_start, touched.bucket_start + interval '5 minutes')
            ) as spans
        from (
            select distinct
                changed.instrument_id,
                changed.provider,
                date_bin('5 minutes', changed.opened_at, 'epoch') as bucket_start
            from changed
        ) as touched
        group by
            touched.instrument_id,
            touched.provider,
            date_trunc('month', touched.bucket_start, 'UTC')
    ) as joined;
    return null;
end
$$;

create function invalidate_daily_bars() returns trigger
language plpgsql as $$
begin
    -- Days at most a week apart are one span: whatever lies between them belongs to the buckets
    -- of one of the two, so that a year of sessions is one row and no bucket too many.
    insert into daily_bar_invalidation (instrument_id, span)
    select
        joined.instrument_id,
        daterange(lower(joined.span), upper(joined.span) - 6)
    from (
        select
            changed.instrument_id,
            unnest(range_agg(daterange(changed.session_date, changed.session_date + 7))) as span
        from changed
        group by changed.instrument_id, extract(year from changed.session_date)
    ) as joined;
    return null;
end
$$;

-- One function serves the rows before and the rows after a change: both are called changed.
create trigger minute_bar_inserted after insert on minute_bar
referencing new table as changed
for each statement execute function invalidate_minute_bars();
create trigger minute_bar_updated_from after update on minute_bar
referencing old table as changed
for each statement execute function invalidate_minute_bars();
create trigger minute_bar_updated_to after update on minute_bar
referencing new table as changed
for each statement execute function invalidate_minute_bars();
create trigger minute_bar_deleted after delete on minute_bar
referencing old table as changed
for each statement execute function invalidate_minute_bars();

create trigger daily_bar_inserted after insert on daily_bar
referencing new table as changed
for each statement execute function invalidate_daily_bars();
create trigger daily_bar_updated_from after update on daily_bar
referencing old table as changed
for each statement execute function invalidate_daily_bars();
create trigger daily_bar_updated_to after update on daily_bar
referencing new table as changed
for each statement execute function invalidate_daily_bars();
create trigger daily_bar_deleted after delete on daily_bar
referencing old table as changed
for each statement execute function invalidate_daily_bars();

-- The roll-ups: one table an interval, a hypertable where minutes make millions of rows.

create table rollup_5m (
    instrument_id bigint not null,
    provider text not null,
    bucket_start timestamptz not null,
    phase text not null,
    open double precision not null,
    high double precision not null,
    low double precision not null,
    close double precision not null,
    volume double precision not null,
    turnover double precision,
    trades bigint,
    source_bars integer not null,
    -- Serves one instrument's bars in order, and the refresh.
    primary key (instrument_id, provider, bucket_start, phase),
    constraint rollup_phase_is_known check (phase in ('regular', 'extended'))
);
comment on column rollup_5m.turnover is
'Sum of vwap x volume of the minutes; null where one with volume does not tell its vwap.';

create table rollup_15m (like rollup_5m including all);
create table rollup_1h (like rollup_5m including all);

-- About two million rows a chunk, with 500 shares. Nothing is asked for by time alone, so the
-- index that a hypertable has by default would only slow the refresh.
select create_hypertable('rollup_5m', by_range('bucket_start', interval '28 days'), create_default_indexes => false);
select create_hypertable('rollup_15m', by_range('bucket_start', interval '84 days'), create_default_indexes => false);
select create_hypertable('rollup_1h', by_range('bucket_start', interval '364 days'), create_default_indexes => false);

create table rollup_1d (
    instrument_id bigint not null,
    provider text not null,
    bucket_start date not null,
    open double precision not null,
    high double precision not null,
    low double precision not null,
    close double precision not null,
    volume double precision not null,
    turnover double precision,
    trades bigint,
    source_bars integer not null,
    primary key (instrument_id, provider, bucket_start)
);

create table rollup_1w (
    instrument_id bigint not null,
    bucket_start date not null,
    open double precision not null,
    high double precision not null,
    low double precision not null,
    close double precision not null,
    volume double precision not null,
    adjustment bar_adjustment,
    source_bars integer not null,
    -- Serves one instrument's bars in order, and the refresh. No hypertable: 500 shares and 20
    -- years make half a million weeks.
    primary key (instrument_id, bucket_start)
);
create table rollup_1mo (like rollup_1w including all);
create table rollup_1q (like rollup_1w including all);
create table rollup_1y (like rollup_1w including all);

-- The views are the contract: same columns and values whichever engine stands behind them.

create view bars_5m as
select
    instrument_id, provider, bucket_start, phase, open, high, low, close, volume,
    turnover / nullif(volume, 0) as vwap, trades, source_bars
from rollup_5m;

create view bars_15m as
select
    instrument_id, provider, bucket_start, phase, open, high, low, close, volume,
    turnover / nullif(volume, 0) as vwap, trades, source_bars
from rollup_15m;

create view bars_1h as
select
    instrument_id, provider, bucket_start, phase, open, high, low, close, volume,
    turnover / nullif(volume, 0) as vwap, trades, source_bars
from rollup_1h;

create view bars_1d as
select
    instrument_id, provider, bucket_start, open, high, low, close, volume,
    turnover / nullif(volume, 0) as vwap, trades, source_bars
from rollup_1d;

create view bars_1w as
select
    instrument_id, bucket_start, open, high, low, close, volume,
    null::double precision as vwap, adjustment, source_bars
from rollup_1w;

create view bars_1mo as
select
    instrument_id, bucket_start, open, high, low, close, volume,
    null::double precision as vwap, adjustment, source_bars
from rollup_1mo;

create view bars_1q as
select
    instrument_id, bucket_start, open, high, low, close, volume,
    null::double precision as vwap, adjustment, source_bars
from rollup_1q;

create view bars_1y as
select
    instrument_id, bucket_start, open, high, low, close, volume,
    null::double precision as vwap, adjustment, source_bars
from rollup_1y;

comment on view bars_5m is
'Five minutes of a share or a pair at one provider, named by the first moment (UTC). phase tells the session of the exchange (regular) from the hours around it (extended); pairs are always regular. vwap and trades are null where a minute does not tell its own; source_bars counts minutes.';
comment on view bars_15m is 'As bars_5m, fifteen minutes.';
comment on view bars_1h is
'As bars_5m, an hour of the clock; one in which a session begins or ends is two rows, one a phase.';
comment on view bars_1d is
'A session of New York made of its regular minutes and named by its day, or a day of UTC for pairs.';
comment on view bars_1w is
'ISO weeks of daily bars, named by the Monday; prices as the days are stored, adjustment null where theirs differ.';
comment on view bars_1mo is 'As bars_1w, calendar months, named by the first day.';
comment on view bars_1q is 'As bars_1w, calendar quarters, named by the first day.';
comment on view bars_1y is 'As bars_1w, calendar years, named by the first day.';

-- Adjusted bars. Within a day all minutes have the same factors, so a bar of a day or less is its
-- raw bar times the factors of its day (of New York). Weeks and more are made of adjusted days:
-- factors change within them.


create function price_factor_on(
    own price_factor, day date, wanted bar_adjustment
) returns double precision
language sql immutable parallel safe
return own.split_factors[width_bucket(day, own.first_days)]
* case wanted
    when 'splits_and_dividends'
        then own.dividend_factors[width_bucket(day, own.first_days)]
    else 1
end;
comment on function price_factor_on is
'What as-traded prices of a day are multiplied with, by the adjustment that is wanted.';

create view adjusted_bars_5m as
select
    bar.instrument_id, bar.provider, bar.bucket_start, bar.phase,
    bar.open * factor.of_prices as open,
    bar.high * factor.of_prices as high,
    bar.low * factor.of_prices as low,
    bar.close * factor.of_prices as close,
    bar.volume / factor.of_shares as volume,
    bar.vwap * factor.of_prices as vwap,
    bar.trades, wanted.adjustment, bar.source_bars
from bars_5m as bar
inner join price_factor as own on own.instrument_id = bar.instrument_id
cross join (
    values ('splits'::bar_adjustment), ('splits_and_dividends')
) as wanted (adjustment)
cross join lateral (
    select (bar.bucket_start at time zone 'America/New_York')::date as day
) as traded
cross join lateral (
    select
        price_factor_on(own, traded.day, wanted.adjustment) as of_prices,
        price_factor_on(own, traded.day, 'splits') as of_shares
) as factor;

create view adjusted_bars_15m as
select
    bar.instrument_id, bar.provider, bar.bucket_start, bar.phase,
    bar.open * factor.of_prices as open,
    bar.high * factor.of_prices as high,
    bar.low * factor.of_prices as low,
    bar.close * factor.of_prices as close,
    bar.volume / factor.of_shares as volume,
    bar.vwap * factor.of_prices as vwap,
    bar.trades, wanted.adjustment, bar.source_bars
from bars_15m as bar
inner join price_factor as own on own.instrument_id = bar.instrument_id
cross join (
    values ('splits'::bar_adjustment), ('splits_and_dividends')
) as wanted (adjustment)
cross join lateral (
    select (bar.bucket_start at time zone 'America/New_York')::date as day
) as traded
cross join lateral (
    select
        price_factor_on(own, traded.day, wanted.adjustment) as of_prices,
        price_factor_on(own, traded.day, 'splits') as of_shares
) as factor;

create view adjusted_bars_1h as
select
    bar.instrument_id, bar.provider, bar.bucket_start, bar.phase,
    bar.open * factor.of_prices as open,
    bar.high * factor.of_prices as high,
    bar.low * factor.of_prices as low,
    bar.close * factor.of_prices as close,
    bar.volume / factor.of_shares as volume,
    bar.vwap * factor.of_prices as vwap,
    bar.trades, wanted.adjustment, bar.source_bars
from bars_1h as bar
inner join price_factor as own on own.instrument_id = bar.instrument_id
cross join (
    values ('splits'::bar_adjustment), ('splits_and_dividends')
) as wanted (adjustment)
cross join lateral (
    select (bar.bucket_start at time zone 'America/New_York')::date as day
) as traded
cross join lateral (
    select
        price_factor_on(own, traded.day, wanted.adjustment) as of_prices,
        price_factor_on(own, traded.day, 'splits') as of_shares
) as factor;

create view adjusted_bars_1d as
select
    bar.instrument_id, bar.provider, bar.bucket_start,
    bar.open * factor.of_prices as open,
    bar.high * factor.of_prices as high,
    bar.low * factor.of_prices as low,
    bar.close * factor.of_prices as close,
    bar.volume / factor.of_shares as volume,
    bar.vwap * factor.of_prices as vwap,
    bar.trades, wanted.adjustment, bar.source_bars
from bars_1d as bar
inner join price_factor as own on own.instrument_id = bar.instrument_id
cross join (
    values ('splits'::bar_adjustment), ('splits_and_dividends')
) as wanted (adjustment)
cross join lateral (
    select bar.bucket_start as day
) as traded
cross join lateral (
    select
        price_factor_on(own, traded.day, wanted.adjustment) as of_prices,
        price_factor_on(own, traded.day, 'splits') as of_shares
) as factor;

create view adjusted_bars_1w as
select
    bar.instrument_id,
    date_trunc('week', bar.session_date::timestamp)::date as bucket_start,
    first(bar.open, bar.session_date) as open,
    max(bar.high) as high,
    min(bar.low) as low,
    last(bar.close, bar.session_date) as close,
    sum(bar.volume order by bar.session_date) as volume,
    null::double precision as vwap,
    bar.adjustment,
    count(*)::integer as source_bars
from adjusted_daily_bars as bar
group by bar.instrument_id, date_trunc('week', bar.session_date::timestamp)::date, bar.adjustment;

create view adjusted_bars_1mo as
select
    bar.instrument_id,
    date_trunc('month', bar.session_date::timestamp)::date as bucket_start,
    first(bar.open, bar.session_date) as open,
    max(bar.high) as high,
    min(bar.low) as low,
    last(bar.close, bar.session_date) as close,
    sum(bar.volume order by bar.session_date) as volume,
    null::double precision as vwap,
    bar.adjustment,
    count(*)::integer as source_bars
from adjusted_daily_bars as bar
group by bar.instrument_id, date_trunc('month', bar.session_date::timestamp)::date, bar.adjustment;

create view adjusted_bars_1q as
select
    bar.instrument_id,
    date_trunc('quarter', bar.bucket_start::timestamp)::date as bucket_start,
    first(bar.open, bar.bucket_start) as open,
    max(bar.high) as high,
    min(bar.low) as low,
    last(bar.close, bar.bucket_start) as close,
    sum(bar.volume order by bar.bucket_start) as volume,
    null::double precision as vwap,
    bar.adjustment,
    sum(bar.source_bars)::integer as source_bars
from adjusted_bars_1mo as bar
group by bar.instrument_id, date_trunc('quarter', bar.bucket_start::timestamp)::date, bar.adjustment;

create view adjusted_bars_1y as
select
    bar.instrument_id,
    date_trunc('year', bar.bucket_start::timestamp)::date as bucket_start,
    first(bar.open, bar.bucket_start) as open,
    max(bar.high) as high,
    min(bar.low) as low,
    last(bar.close, bar.bucket_start) as close,
    sum(bar.volume order by bar.bucket_start) as volume,
    null::double precision as vwap,
    bar.adjustment,
    sum(bar.source_bars)::integer as source_bars
from adjusted_bars_1q as bar
group by bar.instrument_id, date_trunc('year', bar.bucket_start::timestamp)::date, bar.adjustment;

comment on view adjusted_bars_5m is
'bars_5m of shares times the factors of their day: choose one adjustment. An instrument whose factors were never derived is not in it, nor are pairs.';
comment on view adjusted_bars_15m is 'As adjusted_bars_5m, fifteen minutes.';
comment on view adjusted_bars_1h is 'As adjusted_bars_5m, hours.';
comment on view adjusted_bars_1d is 'As adjusted_bars_5m, sessions, made of regular minutes.';
comment on view adjusted_bars_1w is
'ISO weeks of adjusted_daily_bars: right where a split or a dividend lies within. Choose one adjustment.';
comment on view adjusted_bars_1mo is 'As adjusted_bars_1w, calendar months.';
comment on view adjusted_bars_1q is 'As adjusted_bars_1w, calendar quarters.';
comment on view adjusted_bars_1y is 'As adjusted_bars_1w, calendar years.';

-- Whatever is there already has to be aggregated once: a month, or a year, is one invalidation.
insert into minute_bar_invalidation (instrument_id, provider, span)
select
    bar.instrument_id,
    bar.provider,
    tstzrange(
        date_bin('5 minutes', min(bar.opened_at), 'epoch'),
        date_bin('5 minutes', max(bar.opened_at), 'epoch') + interval '5 minutes'
    )
from minute_bar as bar
group by bar.instrument_id, bar.provider, date_trunc('month', bar.opened_at, 'UTC');

insert into daily_bar_invalidation (instrument_id, span)
select
    bar.instrument_id,
    daterange(min(bar.session_date), max(bar.session_date) + 1)
from daily_bar as bar
group by bar.instrument_id, extract(year from bar.session_date);
