-- Daily bars, the versions they replaced, and the view readers use.

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
-- instrument_id and ingest_id have no foreign keys: checking them row by row makes a fresh load
-- 60 % slower (bench/loader.py), and the loader checks a batch's few instruments once.

-- Chunks of five years, 0.6 M rows for 500 instruments. Measured with 2.5 M rows (bench/chunks.py):
-- one instrument's history takes 11-13 ms with chunks of one to forty years and 21 ms with
-- chunks of a month; a month of the whole market 23-26 ms; the copy in is 1.5 times as fast as with
-- chunks of a year, where each instrument's rows visit every chunk in turn.
-- The default index on session_date serves one session or month of the whole market: the
-- archive, the roll-ups' checks, the daily route.
select create_hypertable('daily_bar', by_range('session_date', interval '5 years'));

comment on column daily_bar.known_from is
'When this database came to hold these values (aware UTC); the answer''s own time is in ingest_log.';

create table daily_bar_version (
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
    known_to timestamptz not null,
    replaced_by_ingest_id bigint not null,
    -- Serves the history of one bar and "as known at": versions of a key never overlap, since
    -- each one's known_to is the known_from of the next.
    primary key (instrument_id, session_date, known_from),
    constraint daily_bar_version_lasted check (known_from < known_to)
);
comment on table daily_bar_version is
'Values that were in daily_bar from known_from (included) to known_to (excluded).';

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
