-- name: begin
-- All queries of a read see one moment: that of the first.
set transaction isolation level repeatable read, read only;

-- name: hold_daily_bars
-- Taken before that moment, so that no visible chunk is dropped before it is read: a drop locks the
-- table itself (retention.sql). Without ONLY each chunk would be locked too.
lock table only daily_bar in access share mode;

-- name: hold_minute_bars
-- The same for minutes.
lock table only minute_bar in access share mode;

-- name: export_moment
-- A name for this transaction's snapshot, with which others join it.
select pg_export_snapshot();

-- name: join_moment
-- Use the snapshot of another transaction.
set transaction snapshot {moment};

-- name: in_arrays
-- Rows of some instruments, each column as one array, grouped by columns that hardly change.
select
    wanted.instrument_id,
    held.*
from unnest({ids}::bigint[]) as wanted (instrument_id)
cross join lateral (
    select
        count(*) as rows,
        {columns}
    from (
        {rows}
    ) as bar
    group by {keys}
) as held;

-- name: resolve_tickers
-- Resolve each ticker to the instrument that held it last on or before the day; shares before pairs.
select distinct on (named.ticker)
    named.ticker,
    named.instrument_id,
    named.kind
from instrument_ticker as named
where named.ticker = any({tickers}::text[]) and named.kind in ('equity', 'pair')
order by
    named.ticker,
    named.kind,
    coalesce(lower(named.valid) <= {on_day}::date, true) desc,
    lower(named.valid) desc nulls last;

-- name: names
-- Every ticker by which bars can be asked for.
select distinct named.ticker
from instrument_ticker as named
where named.kind in ('equity', 'pair');

-- name: coverage
-- State of the days of some instruments in a dataset's ledgers, of all providers or one.
select
    known.instrument_id,
    known.state::text as state,
    lower(piece.days) as starts_on,
    upper(piece.days) as ends_before
from (
    select distinct coverage.provider
    from coverage
    where
        coverage.dataset = {dataset}
        and ({provider}::text is null or coverage.provider = {provider}::text)
) as asked
cross join lateral coverage_by_evidence({dataset}, asked.provider, {ids}::bigint[]) as known
cross join unnest(known.sessions) as piece (days);

-- name: factors
-- The factors of some shares.
select
    own.instrument_id,
    own.first_days,
    own.split_factors,
    own.dividend_factors
from price_factor as own
where own.instrument_id = any({ids}::bigint[]);

-- name: splits_as_of
-- The splits of some shares as known at a moment, and whether each has changed since.
select
    given.instrument_id,
    given.ex_date,
    given.new_shares::text as new_shares,
    given.old_shares::text as old_shares,
    false as is_past
from split as given
where
    given.instrument_id = any({ids}::bigint[])
    and given.known_from <= {as_of}::timestamptz
union all
select
    old.instrument_id,
    old.ex_date,
    old.new_shares::text as new_shares,
    old.old_shares::text as old_shares,
    true as is_past
from split_version as old
where
    old.instrument_id = any({ids}::bigint[])
    and old.known_from <= {as_of}::timestamptz
    and old.known_to > {as_of}::timestamptz
order by instrument_id, ex_date;

-- name: dividends_as_of
-- The dividends of some shares as known at a moment.
select
    given.instrument_id,
    given.ex_date,
    given.kind,
    given.ordinal,
    given.amount::text as amount,
    given.currency
from dividend as given
where
    given.instrument_id = any({ids}::bigint[])
    and given.known_from <= {as_of}::timestamptz
union all
select
    old.instrument_id,
    old.ex_date,
    old.kind,
    old.ordinal,
    old.amount::text as amount,
    old.currency
from dividend_version as old
where
    old.instrument_id = any({ids}::bigint[])
    and old.known_from <= {as_of}::timestamptz
    and old.known_to > {as_of}::timestamptz
order by instrument_id, ex_date, kind, ordinal;

-- name: dividend_words_as_of
-- Confirmed amounts of dividends of some shares, in the prices' currency, as of a moment.
select distinct on (
    recorded.instrument_id, recorded.ex_date, recorded.kind, recorded.amount, recorded.currency
)
    recorded.instrument_id,
    recorded.ex_date,
    recorded.kind,
    recorded.amount::text as amount,
    recorded.currency,
    recorded.counted::text as counted
from dividend_confirmation as recorded
where
    recorded.instrument_id = any({ids}::bigint[])
    and recorded.confirmed_at <= {as_of}::timestamptz
order by
    recorded.instrument_id,
    recorded.ex_date,
    recorded.kind,
    recorded.amount,
    recorded.currency,
    recorded.confirmed_at desc;

-- name: spin_offs_as_of
-- The spin-offs of some shares as a person had recorded them by a moment.
select
    latest.instrument_id,
    latest.ex_date,
    latest.value
from (
    select distinct on (recorded.instrument_id, recorded.ex_date, recorded.spun_off)
        recorded.instrument_id,
        recorded.ex_date,
        recorded.value::text as value,
        recorded.value > 0 as holds
    from spin_off as recorded
    where
        recorded.instrument_id = any({ids}::bigint[])
        and recorded.told_at <= {as_of}::timestamptz
    order by recorded.instrument_id, recorded.ex_date, recorded.spun_off, recorded.told_at desc
) as latest
where latest.holds
order by latest.instrument_id, latest.ex_date;

-- name: rates_as_of
-- Exchange rates published and stored by a moment, oldest first.
select distinct on (held.series, held.observed_on)
    held.series,
    held.observed_on,
    held.value::text as value
from (
    select
        named.ticker as series,
        known_rate.observed_on,
        known_rate.value,
        known_rate.realtime_start
    from (
        select
            rate.instrument_id,
            rate.observed_on,
            rate.value,
            rate.realtime_start,
            rate.realtime_end
        from macro_observation as rate
        where rate.known_from <= {as_of}::timestamptz
        union all
        select
            old.instrument_id,
            old.observed_on,
            old.value,
            old.realtime_start,
            old.realtime_end
        from macro_observation_version as old
        where
            old.known_from <= {as_of}::timestamptz
            and old.known_to > {as_of}::timestamptz
    ) as known_rate
    inner join instrument_ticker as named
        on
            named.instrument_id = known_rate.instrument_id
            and named.kind = 'series'
            and named.ticker = any({series}::text[])
    where
        known_rate.observed_on > {first}::date - 15
        and known_rate.value > 0
        -- The vintage that was the latest at the moment.
        and known_rate.realtime_start <= ({as_of}::timestamptz at time zone 'America/Chicago')::date
        and known_rate.realtime_end >= ({as_of}::timestamptz at time zone 'America/Chicago')::date
) as held
order by held.series, held.observed_on, held.realtime_start desc;

-- name: split_checks_as_of
-- The checks of splits of some shares as they stood at a moment.
select distinct on (held.instrument_id, held.ex_date)
    held.instrument_id,
    held.ex_date,
    held.new_shares::text as new_shares,
    held.old_shares::text as old_shares,
    held.verdict,
    held.checked_at,
    held.confirmed_at
from (
    select
        own.*,
        'infinity'::timestamptz as known_to
    from split_check as own
    union all
    select old.*
    from split_check_version as old
) as held
where
    held.instrument_id = any({ids}::bigint[])
    and held.known_to > {as_of}::timestamptz
    and held.first_checked_at <= {as_of}::timestamptz
order by held.instrument_id, held.ex_date, held.known_to;

-- name: dropped
-- The UTC days that are in the archive only, and their files.
select
    gone.starts_on,
    gone.ends_before,
    log.files::text as files
from (
    select
        tomb.dataset,
        tomb.span,
        lower(tomb.span) as starts_on,
        upper(tomb.span) as ends_before
    from archive_tombstone as tomb
    where
        tomb.dataset = {dataset}
        and tomb.restored_at is null
        and tomb.span && daterange({first}::date, {last}::date, '[]')
) as gone
left join archive_log as log
    on log.dataset = gone.dataset and log.span && gone.span and log.superseded_at is null
order by gone.starts_on;

-- name: answers
-- When a dataset's answers came, from the oldest of the given ones on.
select
    log.ingest_id,
    log.fetched_at
from ingest_log as log
where
    log.dataset = {dataset}
    and log.outcome = 'loaded'
    and log.fetched_at >= (
        select min(given_answer.fetched_at)
        from ingest_log as given_answer
        where given_answer.ingest_id = any({ingest_ids}::bigint[])
    );

-- name: daily_bars
-- The days of a share as they are stored.
select
    bar.session_date,
    bar.open,
    bar.high,
    bar.low,
    bar.close,
    bar.volume,
    bar.adjustment::text as adjustment,
    bar.provider,
    bar.ingest_id,
    bar.known_from
from daily_bar as bar
where
    bar.instrument_id = wanted.instrument_id
    and bar.session_date >= {start}::date
    and bar.session_date < {end}::date;

-- name: daily_bars_as_of
-- The days of a share as known at a moment, if the database still holds them.
select
    bar.session_date,
    bar.open,
    bar.high,
    bar.low,
    bar.close,
    bar.volume,
    bar.adjustment::text as adjustment,
    bar.provider,
    bar.ingest_id,
    bar.known_from
from daily_bar as bar
where
    bar.instrument_id = wanted.instrument_id
    and bar.session_date >= {start}::date
    and bar.session_date < {end}::date
    and bar.known_from <= {as_of}::timestamptz
union all
select
    old.session_date,
    old.open,
    old.high,
    old.low,
    old.close,
    old.volume,
    old.adjustment::text as adjustment,
    old.provider,
    old.ingest_id,
    old.known_from
from daily_bar_version as old
where
    old.instrument_id = wanted.instrument_id
    and old.session_date >= {start}::date
    and old.session_date < {end}::date
    and old.known_from <= {as_of}::timestamptz
    and old.known_to > {as_of}::timestamptz;

-- name: minute_bars
-- The minutes of a share or pair at one provider.
select
    bar.opened_at,
    bar.open,
    bar.high,
    bar.low,
    bar.close,
    bar.volume,
    bar.vwap,
    bar.trades,
    bar.provider,
    bar.ingest_id,
    bar.known_from
from minute_bar as bar
where
    bar.instrument_id = wanted.instrument_id
    and bar.opened_at >= {start}::timestamptz
    and bar.opened_at < {end}::timestamptz
    and bar.provider = {provider};

-- name: minute_bars_as_of
-- The minutes of a share or pair at one provider, as known at a moment.
select
    bar.opened_at,
    bar.open,
    bar.high,
    bar.low,
    bar.close,
    bar.volume,
    bar.vwap,
    bar.trades,
    bar.provider,
    bar.ingest_id,
    bar.known_from
from minute_bar as bar
where
    bar.instrument_id = wanted.instrument_id
    and bar.opened_at >= {start}::timestamptz
    and bar.opened_at < {end}::timestamptz
    and bar.provider = {provider}
    and bar.known_from <= {as_of}::timestamptz
union all
select
    old.opened_at,
    old.open,
    old.high,
    old.low,
    old.close,
    old.volume,
    old.vwap,
    old.trades,
    old.provider,
    old.ingest_id,
    old.known_from
from minute_bar_version as old
where
    old.instrument_id = wanted.instrument_id
    and old.opened_at >= {start}::timestamptz
    and old.opened_at < {end}::timestamptz
    and old.provider = {provider}
    and old.known_from <= {as_of}::timestamptz
    and old.known_to > {as_of}::timestamptz;

-- name: bars_of_minutes
-- Bars of a share or pair at one provider, from a view made of minutes.
select bar.*
from {view} as bar
where
    bar.instrument_id = wanted.instrument_id
    and bar.bucket_start >= {start}
    and bar.bucket_start < {end}
    and bar.provider = {provider};

-- name: bars_of_days
-- Bars of a share, from a view made of daily bars.
select
    bar.bucket_start,
    bar.open,
    bar.high,
    bar.low,
    bar.close,
    bar.volume,
    bar.vwap,
    bar.adjustment::text as adjustment,
    bar.source_bars
from {view} as bar
where
    bar.instrument_id = wanted.instrument_id
    and bar.bucket_start >= {start}
    and bar.bucket_start < {end};
