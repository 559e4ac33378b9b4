-- Sessions of the exchange; daily and minute bars; how often providers correct them.

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

create table daily_bar (
    instrument_id bigint not null,
    session_date date not null,
    open double precision not null,
    high double precision not null,
    low double precision not null,
    close double precision not null,
    volume double precision not null,
    adjustment bar_adjustment not null,
    provider text not null,
    ingest_id bigint not null,
    known_from timestamptz not null,
    -- Serves one instrument's history in order, and the loader's comparison with staged rows.
    primary key (instrument_id, session_date),
    -- The last line of defence behind marketdata.bars.validate; NaN fails low <= open.
    constraint daily_bar_prices_are_in_order
    check (low <= open and low <= close and open <= high and close <= high and low > 0),
    constraint daily_bar_volume_is_not_negative check (volume >= 0 and volume < 'infinity')
);

-- Chunks of five years, 0.6 M rows for 500 instruments. Measured with 2.5 M rows (bench/chunks.py):
-- one instrument's history takes 11-13 ms with chunks of one to forty years and 21 ms with
-- chunks of a month; a month of the whole market 23-26 ms; the copy in is 1.5 times as fast as with
-- chunks of a year, where each instrument's rows visit every chunk in turn.
-- The default index on session_date serves one session or month of the whole market: the
-- archive, the roll-ups' checks, the daily route.
select create_hypertable('daily_bar', by_range('session_date', interval '5 years'));
comment on column daily_bar.known_from is
'When this database came to hold these values (aware UTC); the answer''s own time is in ingest_log.';

select create_version_table('daily_bar');

-- Serves "what was restated lately" across all instruments.
create index daily_bar_version_latest on daily_bar_version (known_to desc);

create view daily_bars as
select
    bar.instrument_id,
    named.ticker,
    bar.session_date,
    bar.open,
    bar.high,
    bar.low,
    bar.close,
    bar.volume,
    bar.adjustment,
    bar.provider,
    bar.known_from
from daily_bar as bar
left join instrument_ticker as named
    on named.instrument_id = bar.instrument_id and named.valid @> bar.session_date;
comment on view daily_bars is
'Daily bars with the ticker as of the session; null where nobody knows which one it was.';

create table minute_bar (
    instrument_id bigint not null,
    provider text not null,
    opened_at timestamptz not null,
    open double precision not null,
    high double precision not null,
    low double precision not null,
    close double precision not null,
    volume double precision not null,
    vwap double precision,
    trades bigint,
    ingest_id bigint not null,
    known_from timestamptz not null,
    -- Consolidated tape, IEX alone and each crypto venue have minutes of their own: they stand
    -- side by side. Serves one instrument's minutes in order, and the loader's comparison.
    primary key (instrument_id, provider, opened_at),
    constraint minute_bar_prices_are_in_order
    check (low <= open and low <= close and open <= high and close <= high and low > 0),
    constraint minute_bar_volume_is_not_negative check (volume >= 0 and volume < 'infinity')
);
comment on table minute_bar is
'Minutes with trades, of shares and crypto pairs; whether a minute without a row had no trade or was never asked for is told by coverage.';
comment on column minute_bar.volume is 'In shares, or in the pair''s base currency.';
select create_hypertable('minute_bar', by_range('opened_at', interval '7 days'));
select create_version_table('minute_bar');

-- Serves "what was restated lately", as daily_bar_version_latest does.
create index minute_bar_version_latest on minute_bar_version (known_to desc);

-- How old bars are when their provider corrects them: what the days on which they are asked again
-- rest on.
create view restatement as
select
    'daily_bars' as dataset,
    old.instrument_id,
    old.replaced_by_ingest_id,
    old.known_to as restated_at,
    -- Sessions that no refresh of aggregates has written down yet end at the usual time.
    coalesce(
        session.closes_at, (old.session_date + time '16:00') at time zone 'America/New_York'
    ) as ended_at
from daily_bar_version as old
left join trading_session as session
    on session.exchange = 'XNYS' and session.session_date = old.session_date
union all
select
    case instrument.kind when 'pair' then 'crypto_bars' else 'minute_bars' end as dataset,
    old.instrument_id,
    old.replaced_by_ingest_id,
    old.known_to as restated_at,
    old.opened_at + interval '1 minute' as ended_at
from minute_bar_version as old
inner join instrument on instrument.instrument_id = old.instrument_id;
comment on view restatement is
'One row for each value of a bar that an answer replaced: when, by which answer, and when the bar had ended.';
