-- What happens to the identity of instruments is noted, and letters can end as obsolete.

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

-- Used from the next migration on: a new value can be used once it is committed.
alter type letter_state add value 'obsolete';
