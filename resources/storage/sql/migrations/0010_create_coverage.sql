-- The coverage ledger: what each provider was asked and what is known of each session of each
-- instrument since; and how many rows were loaded.

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
    provider text not null,
    instrument_id bigint not null references instrument,
    state coverage_state not null,
    sessions datemultirange not null,
    updated_at timestamptz not null default now(),
    asked_at timestamptz not null default now(),
    -- Serves the ledger of some instruments, and its update.
    primary key (dataset, provider, instrument_id, state),
    constraint coverage_holds_something check (not isempty(sessions))
);
comment on column coverage.provider is
'Who was asked: who was asked nothing has nothing covered, whatever another provider has said.';
comment on column coverage.sessions is
'A session owns the days up to the next one; the states of an instrument never share a day.';
comment on column coverage.asked_at is
'When the oldest answer came that says so of these days; kept for provider_empty, which expires.';

create table provider_plan (
    provider text primary key,
    plan text,
    shows_since timestamptz not null
);
comment on table provider_plan is
'What a provider shows of the past is a fact of the key: absences that are older than it are asked again.';
comment on column provider_plan.plan is 'A digest of the key and the limits declared for it; never the key.';
comment on column provider_plan.shows_since is
'When the key or its limits changed, or an answer first showed days that earlier ones lacked.';

-- An absence is a statement that can expire: who said it, when, and what else is known of the share.
-- Days of which an answer held nothing are stored as just that. Whether they lie before the listing is
-- told by evidence each time the ledger is read, so that nothing which is learnt later comes too late.
create function coverage_by_evidence(of_dataset text, of_provider text, ids bigint[])
returns table (
    instrument_id bigint,
    state coverage_state,
    sessions datemultirange,
    asked_at timestamptz
)
language sql stable as $$
with
own as (
    select coverage.*
    from coverage
    where
        coverage.dataset = of_dataset
        and coverage.provider = of_provider
        and coverage.instrument_id = any(ids)
),

-- The first day on which anybody, under whatever plan, had a bar of the share.
traded as (
    select
        coverage.instrument_id,
        min(lower(coverage.sessions)) as first_day
    from coverage
    where
        coverage.instrument_id = any(ids)
        and coverage.state in ('complete', 'provisional', 'archived')
        and coverage.dataset in ('daily_bars', 'minute_bars')
    group by coverage.instrument_id
),

-- A day of listing is evidence unless a bar from before contradicts it.
listing as (
    select
        company.instrument_id,
        company.listed_on
    from company
    left join traded on traded.instrument_id = company.instrument_id
    where
        company.instrument_id = any(ids)
        and company.listed_on <= coalesce(traded.first_day, 'infinity')
),

absent as (
    select
        own.instrument_id,
        range_agg(own.sessions) as sessions,
        min(own.asked_at) as asked_at,
        case
            when max(listing.listed_on) is null then '{}'::datemultirange
            else datemultirange(daterange(null, max(listing.listed_on)))
        end as unlisted
    from own
    left join listing on listing.instrument_id = own.instrument_id
    where own.state in ('provider_empty', 'not_listed')
    group by own.instrument_id
)

select
    own.instrument_id,
    own.state,
    own.sessions,
    own.asked_at
from own
where own.state not in ('provider_empty', 'not_listed')
union all
select
    absent.instrument_id,
    proven.state,
    proven.sessions,
    absent.asked_at
from absent
cross join lateral (
    values
    ('not_listed'::coverage_state, absent.sessions * absent.unlisted),
    ('provider_empty'::coverage_state, absent.sessions - absent.unlisted)
) as proven (state, sessions)
where not isempty(proven.sessions)
$$;
comment on function coverage_by_evidence is
'A ledger as it is to be read: absences before a proven listing are not_listed, all others provider_empty.';

-- How many rows of each day were loaded, so that rows which vanish are missed.
create table loaded_day (
    dataset text not null,
    provider text not null,
    instrument_id bigint not null,
    day date not null,
    rows bigint not null,
    -- Serves the loader, and the comparison of a month of a dataset.
    primary key (dataset, provider, instrument_id, day),
    constraint loaded_day_has_rows check (rows > 0)
);
comment on table loaded_day is
'Rows of minutes and trades that were loaded, by day in the dataset''s own zone; written by whoever loads or restores, and by nobody who deletes. Of daily bars the coverage ledger says as much.';

-- Serves the comparison of some days of all instruments.
create index loaded_day_of on loaded_day (dataset, day);
