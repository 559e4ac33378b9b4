-- name: request_timings
-- Times of requests and waits, by what they are added up by.
select
    timed,
    provider,
    outcome,
    error_class,
    requests,
    seconds,
    buckets
from request_timing
order by timed, provider, outcome, error_class;

-- name: budgets
-- What each budget of the last weeks is held to in each period, and what is used of it. Leases are
-- kept for ten minutes, longer than any pace counts.
select
    held.provider,
    held.budget,
    bound.period,
    bound.weight,
    case
        when bound.window_s is null then (
            -- In a zone with half hours the hour in which the period begins counts as a whole.
            select coalesce(sum(usage.weight), 0)
            from request_usage as usage
            where
                usage.budget = held.budget
                and usage.hour
                > date_trunc(bound.period, now(), bound.zone) - interval '1 hour'
        )
        else (
            select coalesce(sum(lease.weights[slot.place]), 0)
            from
                request_lease as lease
                cross join lateral unnest(lease.slots) with ordinality as slot (at, place)
            where
                lease.expires_at > now() - make_interval(secs => bound.window_s)
                and held.budget = any(lease.budgets)
                and slot.at between now() - make_interval(secs => bound.window_s)
                and now()
                and slot.place <> all(lease.unused)
        )
    end as used
from request_limit as held
inner join request_budget as budget on budget.budget = held.budget
cross join lateral jsonb_to_recordset(held.bounds) as bound (
    period text, weight bigint, window_s double precision, zone text
)
where budget.next_at > now() - interval '35 days'
order by held.provider, held.budget, bound.period;

-- name: breakers
-- The state of the breaker of each provider that was ever asked.
select
    known.provider,
    coalesce(breaker.state, 'closed')::text as state
from (
    select request_limit.provider from request_limit
    union
    select circuit_breaker.provider from circuit_breaker
) as known
left join circuit_breaker as breaker on breaker.provider = known.provider
order by known.provider;

-- name: load_totals
-- The ingest log, added up by dataset and provider.
select
    dataset,
    provider,
    sum(loaded)::bigint as loaded,
    sum(failed)::bigint as failed,
    sum(rows_inserted)::bigint as rows_inserted,
    sum(rows_unchanged)::bigint as rows_unchanged,
    sum(rows_restated)::bigint as rows_restated,
    sum(rows_stale)::bigint as rows_stale,
    sum(rows_rejected)::bigint as rows_rejected,
    sum(rows_withdrawn)::bigint as rows_withdrawn,
    max(latest_loaded_at) as latest_loaded_at
from ingest_total
group by dataset, provider
order by dataset, provider;

-- name: waiting_letters
-- Unsettled letters by dataset and state, and when the oldest was first seen.
select
    dataset,
    state::text,
    count(*) as letters,
    min(first_seen_at) as oldest_seen_at
from dead_letter
where state in ('open', 'retrying', 'parked')
group by dataset, state
order by dataset, state;

-- name: members
-- Present members of a universe.
select coalesce(array_agg(member.instrument_id order by member.instrument_id), '{}')
from universe_member as member
where member.universe = %(universe)s and upper_inf(member.valid);

-- name: listed
-- Instruments of a kind that have these symbols now.
select coalesce(array_agg(named.instrument_id order by named.instrument_id), '{}')
from instrument_ticker as named
where
    named.kind = %(kind)s
    and named.ticker = any(%(symbols)s::text[])
    and upper_inf(named.valid);

-- name: day_coverage
-- The coverage by day of some instruments of a dataset at one provider: the first day that was
-- asked for, of how many of the given days rows are kept, how many absent ones lie before a listing,
-- and the day before which rows end. A session owns the days up to the next one, so days are
-- counted by rank.
with
own as (
    select
        coverage.instrument_id,
        coverage.state in ('complete', 'provisional', 'archived') as is_held,
        coverage.state in ('provider_empty', 'not_listed') as is_absent,
        coverage.sessions
    from coverage
    where
        coverage.dataset = %(dataset)s
        and coverage.provider = %(provider)s
        and coverage.instrument_id = any(%(instrument_ids)s::bigint[])
),

-- A day of listing is evidence unless a kept row from before contradicts it.
listing as (
    select
        company.instrument_id,
        company.listed_on
    from company
    where
        company.instrument_id = any(%(instrument_ids)s::bigint[])
        and company.listed_on is not null
        and not exists (
            select from own
            where
                own.instrument_id = company.instrument_id
                and own.is_held
                and lower(own.sessions) < company.listed_on
        )
),

-- Asked for by sub-queries, so that no row carries the array.
session as materialized (
    select %(days)s::date[] as days
),

span as (
    select
        own.is_held,
        width_bucket(upper(piece.days) - 1, (select session.days from session))
        - width_bucket(lower(piece.days) - 1, (select session.days from session)) as sessions
    from own
    cross join unnest(own.sessions) as piece (days)
    where own.is_held
    union all
    select
        false as is_held,
        width_bucket(
            least(upper(piece.days), listing.listed_on) - 1, (select session.days from session)
        )
        - width_bucket(lower(piece.days) - 1, (select session.days from session)) as sessions
    from own
    inner join listing on listing.instrument_id = own.instrument_id
    cross join unnest(own.sessions) as piece (days)
    where own.is_absent and lower(piece.days) < listing.listed_on
)

select
    (select min(lower(own.sessions)) from own) as first_asked,
    coalesce(sum(span.sessions) filter (where span.is_held), 0)::bigint as held,
    coalesce(sum(span.sessions) filter (where not span.is_held), 0)::bigint as unlisted,
    (select max(upper(own.sessions)) from own where own.is_held) as held_before
from span;

-- name: snapshot_coverage
-- Of how many of some instruments all was asked for since a day, at one provider.
select count(*) as fresh
from coverage as own
where
    own.dataset = %(dataset)s
    and own.provider = %(provider)s
    and own.state = 'complete'
    and own.instrument_id = any(%(instrument_ids)s::bigint[])
    and exists (
        select from unnest(own.sessions) as piece (days)
        where lower(piece.days) <= %(begins)s and upper(piece.days) > %(asked_since)s
    );

-- name: first_unarchived_session
-- The first session with a daily bar that no valid proof holds, by the ledger: the exporter's role
-- may read no prices. Each instrument by itself: the days of all of them need not be added up. A
-- part of the instruments only, since all of them take 20 ms where there are 5,000.
select min(lower(coverage.sessions * unproven.days)) as day
from coverage
cross join (
    select
        datemultirange(daterange(null, null))
        - coalesce(range_agg(archive_log.span), '{}'::datemultirange) as days
    from archive_log
    where archive_log.dataset = %(dataset)s and archive_log.superseded_at is null
) as unproven
where
    coverage.dataset = %(dataset)s and coverage.state in ('complete', 'provisional')
    and coverage.instrument_id %% %(parts)s = %(part)s;

-- name: first_unarchived_day
-- The first day with loaded rows of a dataset that no valid proof holds.
select held.day
from (
    select
        datemultirange(daterange(null, null))
        - coalesce(range_agg(archive_log.span), '{}'::datemultirange) as days
    from archive_log
    where archive_log.dataset = %(dataset)s and archive_log.superseded_at is null
) as unproven
cross join unnest(unproven.days) as gap (days)
cross join lateral (
    select loaded_day.day
    from loaded_day
    where
        loaded_day.dataset = %(dataset)s
        and loaded_day.day >= coalesce(lower(gap.days), '-infinity')
        and loaded_day.day < coalesce(upper(gap.days), 'infinity')
    order by loaded_day.day
    limit 1
) as held
order by held.day
limit 1;

-- name: table_size
-- Bytes of a table with its indexes, and its chunks; null chunks mean that it has none.
select
    case
        when hypertable.hypertable_name is null then pg_total_relation_size(relation.oid)
        else coalesce(hypertable_size(relation.oid), 0)
    end as bytes,
    hypertable.num_chunks as chunks
from pg_class as relation
left join timescaledb_information.hypertables as hypertable
    on
        hypertable.hypertable_name = relation.relname
        and hypertable.hypertable_schema = relation.relnamespace::regnamespace::text
where relation.oid = to_regclass(%(name)s);

-- name: audit
-- The audit log's latest entry, its latest verification, and what was last anchored elsewhere.
select
    (select max(audit_log.id) from audit_log) as last_id,
    verification.valid,
    verification.verified_at,
    anchor.audit_id as anchored_id,
    anchor.anchored_at
from (select 1) as always
left join lateral (
    select
        audit_verification.valid,
        audit_verification.verified_at
    from audit_verification
    order by audit_verification.verification_id desc
    limit 1
) as verification on true
left join lateral (
    select
        audit_anchor.audit_id,
        audit_anchor.anchored_at
    from audit_anchor
    order by audit_anchor.anchor_id desc
    limit 1
) as anchor on true;

-- name: dagster_is_kept
-- Whether Dagster keeps its runs in this database.
select to_regclass('runs') is not null and to_regclass('daemon_heartbeats') is not null;

-- name: dagster_runs
-- Dagster's runs by status: those in flight, and those that ended within the last hour. Its times are
-- naive and of UTC. By time and not by id, so that no long run is left out.
select
    run.status,
    count(*) as runs
from runs as run
where run.status in ('QUEUED', 'NOT_STARTED', 'MANAGED', 'STARTING', 'STARTED', 'CANCELING')
group by run.status
union all
select
    run.status,
    count(*) as runs
from runs as run
where
    run.status in ('SUCCESS', 'FAILURE', 'CANCELED')
    and run.update_timestamp >= now() at time zone 'UTC' - interval '1 hour'
group by run.status;

-- name: oldest_queued_run
-- When the oldest queued run was created.
select min(run.create_timestamp) at time zone 'UTC'
from runs as run
where run.status = 'QUEUED';

-- name: daemon_heartbeats
-- When each daemon of Dagster was last heard of.
select
    heartbeat.daemon_type,
    max(heartbeat.timestamp) at time zone 'UTC'
from daemon_heartbeats as heartbeat
group by heartbeat.daemon_type
order by heartbeat.daemon_type;
