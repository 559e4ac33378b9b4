-- An absence is a statement that can expire: who said it, when, and what else is known of the share.

-- Days of which an answer held nothing are stored as just that. Whether they lie before the listing is
-- told by evidence each time the ledger is read, so that nothing which is learnt later comes too late.
alter table coverage add column asked_at timestamptz not null default now();
comment on column coverage.asked_at is
'When the oldest answer came that says so of these days; kept for provider_empty, which expires.';

-- What was called "not listed" was guessed from the first bar of an answer: asked again.
with
guessed as (
    delete from coverage where state = 'not_listed'
    returning dataset, instrument_id, sessions
)

insert into coverage as held (dataset, instrument_id, state, sessions, asked_at)
select
    guessed.dataset,
    guessed.instrument_id,
    'provider_empty',
    guessed.sessions,
    '-infinity'
from guessed
on conflict (dataset, instrument_id, state) do update
    set sessions = held.sessions + excluded.sessions, asked_at = excluded.asked_at;

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

create function coverage_by_evidence(of_ledger text, ids bigint[])
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
    where coverage.dataset = of_ledger and coverage.instrument_id = any(ids)
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
        and (
            starts_with(coverage.dataset, 'daily_bars by ')
            or starts_with(coverage.dataset, 'minute_bars by ')
        )
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
