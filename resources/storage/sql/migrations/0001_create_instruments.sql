-- Instruments have ids, tickers are dated: everything else refers to instrument_id.

create table instrument (
    instrument_id bigint generated always as identity primary key,
    name text not null,
    cik text,
    sector text,
    kind text not null default 'equity',
    created_at timestamptz not null default now(),
    -- SEC registrant numbers are compared as text, so they have one spelling.
    constraint instrument_cik_has_ten_digits check (cik ~ '^[0-9]{10}$')
);
comment on table instrument is 'What is traded; share classes of one company are several instruments.';
comment on column instrument.kind is 'equity now; etf, crypto, index as they come.';

create table instrument_ticker (
    instrument_id bigint not null references instrument,
    ticker text not null,
    valid daterange not null,
    constraint instrument_ticker_is_some_time check (not isempty(valid)),
    -- Serves every lookup "who carried this ticker on that day": one answer at most.
    constraint instrument_ticker_belongs_to_one exclude using gist (ticker with =, valid with &&),
    -- Serves the ticker as of a session (view daily_bars, the archive): one answer at most.
    constraint instrument_ticker_is_one_at_a_time
    exclude using gist (instrument_id with =, valid with &&)
);
comment on column instrument_ticker.valid is
'Days the ticker was carried; without a lower bound where nobody else is known to have had it before.';

-- Serves members(): the open ticker of each instrument; an instrument has one at most.
create unique index instrument_ticker_open on instrument_ticker (instrument_id)
where upper_inf(valid);

create table universe_member (
    universe text not null,
    instrument_id bigint not null references instrument,
    valid daterange not null,
    constraint universe_member_is_some_time check (not isempty(valid)),
    -- Serves members(): a second membership of the same days would count an instrument twice.
    constraint universe_member_does_not_overlap
    exclude using gist (universe with =, instrument_id with =, valid with &&)
);
comment on table universe_member is 'Who belongs to a list such as sp500, and when.';
