-- name: apply_marks
-- Write marks for many instruments at once; count the days that contradict the ledger.
with
mark as (
    select
        given.instrument_id,
        given.state,
        range_agg(daterange(given.starts_on, given.ends_before)) as sessions
    from unnest(
        %(instrument_ids)s::bigint[],
        %(states)s::coverage_state[],
        %(starts_on)s::date[],
        %(ends_before)s::date[]
    ) as given (instrument_id, state, starts_on, ends_before)
    group by given.instrument_id, given.state
),

held as (
    select
        coverage.instrument_id,
        range_agg(coverage.sessions) as anything,
        range_agg(coverage.sessions) filter (
            where coverage.state in ('complete', 'provisional', 'archived')
        ) as bars,
        range_agg(coverage.sessions) filter (
            where coverage.state in ('complete', 'archived')
        ) as final_bars
    from coverage
    where
        coverage.dataset = %(dataset)s
        and coverage.provider = %(provider)s
        and coverage.instrument_id in (select mark.instrument_id from mark)
    group by coverage.instrument_id
),

-- If two marks of the batch claim a day, the stronger state gets it.
disjoint as (
    select
        mark.instrument_id,
        mark.state,
        mark.sessions - coalesce(
            range_agg(mark.sessions) over (
                partition by mark.instrument_id
                order by mark.state
                rows between unbounded preceding and 1 preceding
            ),
            '{}'
        ) as sessions
    from mark
),

-- A known state is stronger than a failure, a held bar is stronger than its
-- absence or refusal, and a final bar is stronger than a provisional one.
protected as (
    select
        disjoint.instrument_id,
        disjoint.state,
        disjoint.sessions,
        case
            when disjoint.state = 'failed' then coalesce(held.anything, '{}')
            when disjoint.state in ('provider_empty', 'not_listed', 'quarantined')
                then coalesce(held.bars, '{}')
            when disjoint.state = 'provisional' then coalesce(held.final_bars, '{}')
            else '{}'
        end as kept
    from disjoint
    left join held on held.instrument_id = disjoint.instrument_id
),

effective as (
    select
        protected.instrument_id,
        protected.state,
        protected.sessions - protected.kept as sessions,
        case
            when protected.state in ('provider_empty', 'not_listed')
                then protected.sessions * protected.kept
            else '{}'::datemultirange
        end as contradicted
    from protected
),

claimed as (
    select
        effective.instrument_id,
        range_agg(effective.sessions) as sessions
    from effective
    group by effective.instrument_id
),

present as (
    select
        coverage.instrument_id,
        coverage.state,
        coverage.sessions,
        coverage.asked_at
    from coverage
    where
        coverage.dataset = %(dataset)s
        and coverage.provider = %(provider)s
        and coverage.instrument_id in (select mark.instrument_id from mark)
),

following as (
    select
        instrument_id,
        state,
        effective.sessions as said,
        present.asked_at,
        present.sessions as before,
        coalesce(present.sessions, '{}') - claimed.sessions
        + coalesce(effective.sessions, '{}') as after
    from present
    full join effective using (instrument_id, state)
    inner join claimed using (instrument_id)
),

-- An answer about all the days of a state renews it; one about some of them leaves the age
-- of the others, and so of all, as it was.
written as (
    insert into coverage (dataset, provider, instrument_id, state, sessions, asked_at)
    select
        %(dataset)s,
        %(provider)s,
        following.instrument_id,
        following.state,
        following.after,
        case
            when following.after = following.said
                then greatest(following.asked_at, %(asked_at)s::timestamptz)
            else coalesce(following.asked_at, %(asked_at)s::timestamptz)
        end
    from following
    where
        not isempty(following.after)
        and (
            following.after is distinct from following.before
            or (following.state = 'provider_empty' and following.after = following.said)
        )
    on conflict (dataset, provider, instrument_id, state) do update
        set sessions = excluded.sessions, asked_at = excluded.asked_at, updated_at = now()
),

emptied as (
    delete from coverage
    using following
    where
        coverage.dataset = %(dataset)s
        and coverage.provider = %(provider)s
        and coverage.instrument_id = following.instrument_id
        and coverage.state = following.state
        and isempty(following.after)
),

-- Days before the oldest held bar that were empty before and have bars now.
revealed as (
    select
        effective.sessions * present.sessions
        * datemultirange(daterange(null, lower(held.bars))) as sessions
    from effective
    inner join present
        on
            present.instrument_id = effective.instrument_id
            and present.state = 'provider_empty'
    inner join held on held.instrument_id = effective.instrument_id and held.bars is not null
    where effective.state in ('complete', 'provisional')
)

select
    (
        select coalesce(sum(upper(piece.days) - lower(piece.days)), 0)
        from effective
        cross join unnest(effective.contradicted) as piece (days)
    )::bigint as days_contradicted,
    (
        select coalesce(max(upper(piece.days) - lower(piece.days)), 0)
        from revealed
        cross join unnest(revealed.sessions) as piece (days)
    )::bigint as days_revealed;

-- name: plan_has_grown
-- The key shows more days than before: earlier absences are asked for again.
insert into provider_plan as known (provider, shows_since)
values (%(provider)s, %(since)s)
on conflict (provider) do update
    set shows_since = greatest(known.shows_since, excluded.shows_since);

-- name: note_key_plan
-- Store the key in use and its limits; a new key may show other days.
insert into provider_plan as known (provider, plan, shows_since)
values (%(provider)s, %(plan)s, '-infinity')
on conflict (provider) do update
    set
        plan = excluded.plan,
        shows_since = case when known.plan is null then known.shows_since else now() end
    where known.plan is distinct from excluded.plan;

-- name: ledger
-- The spans of some instruments, one row per span; expired absences are left out.
select
    known.instrument_id,
    known.state,
    lower(piece.days) as starts_on,
    upper(piece.days) as ends_before
from coverage_by_evidence(
    %(dataset)s, %(provider)s, %(instrument_ids)s::bigint[]
) as known
cross join unnest(known.sessions) as piece (days)
left join provider_plan on provider_plan.provider = %(provider)s
where
    known.state <> 'provider_empty'
    or known.asked_at >= greatest(now() - %(stands_for)s::interval, provider_plan.shows_since)
order by known.instrument_id, known.state, starts_on;

-- name: count_sessions
-- Number of the given sessions of some instruments by state; null is unknown.
with
span as (
    select
        known.instrument_id,
        known.state,
        piece.days
    from coverage_by_evidence(
        %(dataset)s, %(provider)s, %(instrument_ids)s::bigint[]
    ) as known
    cross join unnest(known.sessions) as piece (days)
),

-- Sessions are counted by their rank instead of being joined to every span.
session as (
    select array_agg(given.day order by given.day) as days
    from unnest(%(sessions)s::date[]) as given (day)
),

known as (
    select
        span.state,
        sum(
            width_bucket(upper(span.days) - 1, session.days)
            - width_bucket(lower(span.days) - 1, session.days)
        ) as sessions
    from span
    cross join session
    group by span.state
)

select
    known.state::text,
    known.sessions::bigint
from known
where known.sessions > 0
union all
select
    null,
    cardinality(%(instrument_ids)s::bigint[])::bigint * cardinality(%(sessions)s::date[])
    - coalesce((select sum(known.sessions) from known), 0)::bigint;

-- name: holes
-- Holes of some instruments: sessions from the first requested one on that are in no state, failed
-- or quarantined.
with
known as (
    select
        coverage.instrument_id,
        range_agg(coverage.sessions) as asked,
        range_agg(coverage.sessions) filter (
            where coverage.state not in ('failed', 'quarantined')
        ) as settled
    from coverage
    where
        coverage.dataset = %(dataset)s
        and coverage.provider = %(provider)s
        and coverage.instrument_id = any(%(instrument_ids)s::bigint[])
    group by coverage.instrument_id
)

select
    named.ticker,
    known.instrument_id,
    given.day as session_date,
    count(*) over () as holes
from known
cross join unnest(%(sessions)s::date[]) as given (day)
inner join instrument_ticker as named
    on named.instrument_id = known.instrument_id and upper_inf(named.valid)
where
    given.day >= lower(known.asked)
    and not coalesce(known.settled @> given.day, false)
order by given.day desc, named.ticker
limit %(limit)s;
