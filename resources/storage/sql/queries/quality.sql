-- name: count_ohlc_violations
-- Bars whose prices contradict each other; the table's constraint should prevent them.
select count(*)
from daily_bar as bar
where
    not (
        bar.low <= bar.open and bar.low <= bar.close
        and bar.high >= bar.open and bar.high >= bar.close
        and bar.low > 0 and bar.volume >= 0
    );

-- name: sample_ohlc_violations
-- Some of them.
select
    bar.ticker,
    bar.instrument_id,
    bar.session_date,
    format('open %%s, high %%s, low %%s, close %%s', bar.open, bar.high, bar.low, bar.close)
from daily_bars as bar
where
    not (
        bar.low <= bar.open and bar.low <= bar.close
        and bar.high >= bar.open and bar.high >= bar.close
        and bar.low > 0 and bar.volume >= 0
    )
order by bar.session_date desc, bar.ticker
limit %(limit)s;

-- name: count_duplicates
-- Ticker and session with bars of more than one instrument.
select count(*)
from (
    select
        bar.ticker,
        bar.session_date
    from daily_bars as bar
    where bar.ticker is not null
    group by bar.ticker, bar.session_date
    having count(*) > 1
) as twice;

-- name: sample_duplicates
-- Some of them.
select
    bar.ticker,
    min(bar.instrument_id) as instrument_id,
    bar.session_date,
    format('instruments %%s', string_agg(bar.instrument_id::text, ', ' order by bar.instrument_id))
from daily_bars as bar
where bar.ticker is not null
group by bar.ticker, bar.session_date
having count(*) > 1
order by bar.session_date desc, bar.ticker
limit %(limit)s;

-- name: count_strangers
-- Bars on days that are no session.
select count(*)
from daily_bar as bar
where
    bar.session_date between %(first)s and %(last)s
    and bar.session_date <> all(%(sessions)s::date[]);

-- name: sample_strangers
-- Some of them.
select
    bar.ticker,
    bar.instrument_id,
    bar.session_date,
    to_char(bar.session_date, 'FMDay')
from daily_bars as bar
where
    bar.session_date between %(first)s and %(last)s
    and bar.session_date <> all(%(sessions)s::date[])
order by bar.session_date desc, bar.ticker
limit %(limit)s;

-- name: totals
-- Rows, instruments, first and last session of the table, and its versions.
select
    count(*),
    count(distinct bar.instrument_id),
    min(bar.session_date),
    max(bar.session_date),
    (select count(*) from daily_bar_version)
from daily_bar as bar;
