-- Bars of every interval, raw and adjusted: what readers see, and the roll-ups that keep them
-- (continuous aggregates take their place where the edition has them: engines/ beside this folder).

-- One table an interval, a hypertable where minutes make millions of rows.
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

do $$
declare
    bars text;
begin
    foreach bars in array array['bars_5m', 'bars_15m', 'bars_1h'] loop
        execute format(
            $view$
            create view %1$I as
            select
                bar.instrument_id, bar.provider, bar.bucket_start, bar.phase,
                bar.open * factor.of_prices as open,
                bar.high * factor.of_prices as high,
                bar.low * factor.of_prices as low,
                bar.close * factor.of_prices as close,
                bar.volume / factor.of_shares as volume,
                bar.vwap * factor.of_prices as vwap,
                bar.trades, wanted.adjustment, bar.source_bars
            from %2$I as bar
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
            ) as factor
            $view$,
            'adjusted_' || bars, bars
        );
    end loop;
end
$$;

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
