-- Instruments have ids, tickers are dated: everything else refers to instrument_id.
--
-- Crypto pairs, macro series and indices are instruments too, so that coverage, dead letters and
-- the log know them; the series GDP and a share GDP are two things.

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
comment on column instrument.kind is 'equity, pair, series or index.';

create table instrument_ticker (
    instrument_id bigint not null references instrument,
    ticker text not null,
    kind text not null default 'equity',
    valid daterange not null,
    constraint instrument_ticker_is_some_time check (not isempty(valid)),
    -- Serves every lookup "who carried this ticker on that day": one answer at most.
    constraint instrument_ticker_belongs_to_one
    exclude using gist (kind with =, ticker with =, valid with &&),
    -- Serves the ticker as of a session (view daily_bars, the archive): one answer at most.
    constraint instrument_ticker_is_one_at_a_time
    exclude using gist (instrument_id with =, valid with &&)
);
comment on column instrument_ticker.kind is 'As instrument.kind: a ticker is unique within its kind.';
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

create table instrument_event (
    event_id bigint generated always as identity primary key,
    instrument_id bigint not null references instrument,
    ticker text not null,
    kind text not null,
    day date not null,
    before text not null,
    after text not null,
    noted_at timestamptz not null default now(),
    constraint instrument_event_kind_is_known
    check (kind in ('renamed', 'issuer_changed', 'ticker_reused')),
    -- A change that is applied again is no second event.
    constraint instrument_event_once unique (instrument_id, kind, day, before, after)
);
comment on table instrument_event is
'What the list of constituents told of an identity: the instrument keeps only what is true now.';
comment on column instrument_event.day is 'The day on which the list told it: not later than that.';
comment on column instrument_event.before is 'Ticker, or CIK, of before.';
