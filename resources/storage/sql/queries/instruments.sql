-- name: members
-- Present members of a universe under their present tickers.
select
    member.instrument_id,
    named.ticker,
    instrument.cik
from universe_member as member
inner join instrument on instrument.instrument_id = member.instrument_id
inner join instrument_ticker as named
    on named.instrument_id = member.instrument_id and upper_inf(named.valid)
where member.universe = %(universe)s and upper_inf(member.valid)
order by named.ticker;

-- name: tickers
-- Every present or former ticker of any share.
select distinct instrument_ticker.ticker
from instrument_ticker
where instrument_ticker.kind = 'equity'
order by instrument_ticker.ticker;

-- name: ids_by_ticker
-- The instrument of a kind that has each ticker on a day.
select
    named.ticker,
    named.instrument_id
from instrument_ticker as named
where named.kind = %(kind)s and named.ticker = any(%(tickers)s::text[]) and named.valid @> %(on)s::date;

-- name: renamed_to
-- The present tickers of instruments that once had the given ones, which no instrument has now.
select
    former.ticker,
    present.ticker as now_called
from instrument_ticker as former
inner join instrument_ticker as present
    on present.instrument_id = former.instrument_id and upper_inf(present.valid)
where
    former.kind = 'equity'
    and former.ticker = any(%(tickers)s::text[])
    and not exists (
        select from instrument_ticker as taken
        where taken.kind = 'equity' and taken.ticker = former.ticker and upper_inf(taken.valid)
    )
order by former.valid;

-- name: lock_universe
-- One change at a time, so that two of them cannot both create an instrument. Tickers are
-- shared between universes, hence one lock for all.
select pg_advisory_xact_lock(hashtextextended('wrdata.universe', 0));

-- name: last_holder
-- The instrument that last had a ticker, with its CIK; is_open is whether it still has it.
select
    named.instrument_id,
    instrument.cik,
    upper_inf(named.valid) as is_open
from instrument_ticker as named
inner join instrument on instrument.instrument_id = named.instrument_id
where named.kind = 'equity' and named.ticker = %(ticker)s
order by upper(named.valid) desc nulls first
limit 1;

-- name: create_instrument
-- Create an instrument.
insert into instrument (name, cik, sector)
values (%(name)s, %(cik)s, %(sector)s)
returning instrument_id;

-- name: describe_instrument
-- Update an instrument from a list; a known CIK is never removed.
update instrument
set name = %(name)s, cik = coalesce(%(cik)s, cik), sector = coalesce(%(sector)s, sector)
where
    instrument_id = %(instrument_id)s
    and (name, cik, sector)
    is distinct from (%(name)s, coalesce(%(cik)s, cik), coalesce(%(sector)s, sector));

-- name: note_event
-- Record a change of an instrument's identity, once.
insert into instrument_event (instrument_id, ticker, kind, day, before, after)
values (%(instrument_id)s, %(ticker)s, %(kind)s, %(day)s, %(before)s, %(after)s)
on conflict do nothing;

-- name: events
-- All changes of identity, the latest first.
select
    event.instrument_id,
    event.ticker,
    event.kind,
    event.day,
    event.before,
    event.after
from instrument_event as event
order by event.event_id desc;

-- name: close_ticker
-- End the open ticker of an instrument; one that began the same day is removed.
with
never as (
    delete from instrument_ticker
    where
        instrument_id = %(instrument_id)s
        and upper_inf(valid)
        and not lower_inf(valid)
        and lower(valid) >= %(on)s
)

update instrument_ticker
set valid = daterange(lower(valid), %(on)s)
where
    instrument_id = %(instrument_id)s
    and upper_inf(valid)
    and (lower_inf(valid) or lower(valid) < %(on)s);

-- name: open_ticker
-- Begin a ticker: on the day, or with the start of time where neither the ticker nor the
-- instrument has an earlier entry and the security is new here, since its history is fetched too.
insert into instrument_ticker (instrument_id, ticker, valid)
select
    %(instrument_id)s,
    %(ticker)s,
    daterange(
        case
            when exists (
                select from instrument_ticker as earlier
                where
                    (earlier.kind = 'equity' and earlier.ticker = %(ticker)s)
                    or earlier.instrument_id = %(instrument_id)s
            ) then %(on)s::date
        end,
        null
    );

-- name: open_membership
-- Begin a membership unless one is open; one that ended the same day goes on.
with
resumed as (
    update universe_member
    set valid = daterange(lower(valid), null)
    where
        universe = %(universe)s
        and instrument_id = %(instrument_id)s
        and upper(valid) >= %(on)s
    returning 1
)

insert into universe_member (universe, instrument_id, valid)
select
    %(universe)s,
    %(instrument_id)s,
    daterange(%(on)s, null)
where
    not exists (select from resumed)
    and not exists (
        select from universe_member
        where
            universe = %(universe)s
            and instrument_id = %(instrument_id)s
            and upper_inf(valid)
    );

-- name: close_membership
-- End the open membership; one that began the same day is removed.
with
never as (
    delete from universe_member
    where
        universe = %(universe)s
        and instrument_id = %(instrument_id)s
        and upper_inf(valid)
        and lower(valid) >= %(on)s
)

update universe_member
set valid = daterange(lower(valid), %(on)s)
where
    universe = %(universe)s
    and instrument_id = %(instrument_id)s
    and upper_inf(valid)
    and lower(valid) < %(on)s;

-- name: tickers_of
-- All tickers of some instruments, in order; null is no beginning, or no end.
select
    named.instrument_id,
    named.ticker,
    lower(named.valid) as begins_on,
    upper(named.valid) as ends_before
from instrument_ticker as named
where named.instrument_id = any(%(instrument_ids)s::bigint[])
order by named.instrument_id, named.valid;

-- name: memberships
-- All memberships of a universe; a null end means that it goes on.
select
    member.instrument_id,
    lower(member.valid) as begins_on,
    upper(member.valid) as ended_on
from universe_member as member
where member.universe = %(universe)s
order by member.instrument_id, member.valid;

-- name: register
-- Create instruments whose symbol never changes, such as pairs and series; existing ones
-- stay as they are.
with
missing as (
    select
        given.ticker,
        given.name,
        nextval(pg_get_serial_sequence('instrument', 'instrument_id')) as instrument_id
    from unnest(%(tickers)s::text[], %(names)s::text[]) as given (ticker, name)
    where not exists (
        select from instrument_ticker as known
        where known.kind = %(kind)s and known.ticker = given.ticker
    )
),

created as (
    insert into instrument (instrument_id, name, kind)
    overriding system value
    select
        missing.instrument_id,
        missing.name,
        %(kind)s
    from missing
    returning instrument_id
)

insert into instrument_ticker (instrument_id, kind, ticker, valid)
select
    missing.instrument_id,
    %(kind)s,
    missing.ticker,
    daterange(null, null)
from missing
inner join created on created.instrument_id = missing.instrument_id;
