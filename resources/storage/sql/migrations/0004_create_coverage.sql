-- The coverage ledger: what is known about each session of each instrument.

-- In the order of their strength: where one batch claims a day twice, the earlier state wins.
create type coverage_state as enum (
    'complete',       -- a bar that will not change any more
    'provisional',    -- a bar that was fetched so soon that it may still change
    'archived',       -- the bar is in the archive only
    'quarantined',    -- the provider's bar was refused by validation
    'not_listed',     -- before the provider's first bar, or after its last
    'provider_empty', -- the provider has nothing for this session
    'failed'          -- the request came to nothing
);

create table coverage (
    dataset text not null,
    instrument_id bigint not null references instrument,
    state coverage_state not null,
    sessions datemultirange not null,
    updated_at timestamptz not null default now(),
    -- Serves the ledger of some instruments, and its update.
    primary key (dataset, instrument_id, state),
    constraint coverage_holds_something check (not isempty(sessions))
);
comment on column coverage.sessions is
'A session owns the days up to the next one; the states of an instrument never share a day.';
