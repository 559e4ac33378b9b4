-- name: take
-- Permits for one process, or why there are none now. A request during a pause longer than a run
-- waits is refused at once; a pause that begins a moment later still holds by next_at. Times of
-- earlier requests are added up last, so that their rows are locked for no longer than the commit.
with
pause as (
    select budget.paused_until, budget.pause_reason
    from request_budget as budget
    where
        budget.budget = any (%(budgets)s::text[])
        and budget.paused_until
        > clock_timestamp() + make_interval(secs => %(waited_pause_s)s::double precision)
    order by budget.paused_until desc
    limit 1
),

-- Materialized: decided before the times are added up.
answer as materialized (
    select
        null::bigint as lease_id,
        null::double precision[] as slots_s,
        null::double precision as decided_after_s,
        false as trial,
        0 as failures,
        'paused' as refusal,
        extract(epoch from pause.paused_until - clock_timestamp())::double precision
            as retry_after_s,
        format(
            'the provider asks to be left alone until %%s UTC: %%s',
            to_char(pause.paused_until at time zone 'UTC', 'YYYY-MM-DD HH24:MI'),
            pause.pause_reason
        ) as detail
    from pause
    union all
    select lease.*
    from take_request_lease(
        %(provider)s::text, %(charges)s::jsonb, %(weights)s::integer[], %(lane)s::request_lane,
        %(horizon_s)s::double precision, %(tolerance_s)s::double precision,
        %(trial_expires_s)s::double precision, %(host)s::text, %(pid)s::integer,
        %(run_id)s::text
    ) as lease
    where not exists (select from pause)
)

select
    answer.*,
    case
        when %(timings)s::jsonb <> '[]'
            then record_requests(%(provider)s::text, %(charges)s::jsonb, %(timings)s::jsonb)
    end
from answer;

-- name: add_timings
-- Add up times of requests, and note what their budgets are held to: who asks once takes no second
-- lease that would.
select record_requests(%(provider)s::text, %(charges)s::jsonb, %(timings)s::jsonb);

-- name: give_back
-- Give back unused permits.
select give_back_request_lease(%(lease_id)s::bigint, %(unused)s::integer[]);

-- name: pause
-- Pause these budgets: no reservation before the end of the pause.
update request_budget as budget
set
    next_at = greatest(budget.next_at, held.until),
    pause_reason = case
        when budget.paused_until > held.until then budget.pause_reason else %(reason)s::text
    end,
    paused_until = greatest(budget.paused_until, held.until)
from (
    select clock_timestamp() + make_interval(secs => %(seconds)s::double precision) as until
) as held
where budget.budget = any (%(budgets)s::text[]);

-- name: observe_used
-- Take over the provider's higher count of its present window.
update request_budget as budget
set next_at = seen.at_least
from (
    select
        to_timestamp(
            floor(extract(epoch from clock_timestamp()) / %(window_s)s::double precision)
            * %(window_s)s::double precision
            + %(used)s::double precision * %(interval_s)s::double precision
        ) as at_least
) as seen
where budget.budget = %(budget)s and budget.next_at < seen.at_least;

-- name: report_failure
-- Count one more failure in a row: the breaker opens, or opens again if its trial failed. Reports of
-- other requests are ignored while it is not closed.
insert into circuit_breaker as breaker (
    provider, failures, last_error_class, last_error, last_failed_at
) values (
    %(provider)s, 1, %(error_class)s, %(error)s, clock_timestamp()
)
on conflict (provider) do update
set
    failures = breaker.failures + 1,
    last_error_class = excluded.last_error_class,
    last_error = excluded.last_error,
    last_failed_at = excluded.last_failed_at,
    state = case
        when
            breaker.state = 'closed' and breaker.failures + 1 >= %(failures)s
            or breaker.trial_lease_id = %(lease_id)s
            then 'open'
        else breaker.state
    end,
    retry_at = case
        when
            breaker.state = 'closed' and breaker.failures + 1 >= %(failures)s
            or breaker.trial_lease_id = %(lease_id)s
            then clock_timestamp() + make_interval(secs => %(open_s)s::double precision)
        else breaker.retry_at
    end,
    trial_lease_id = nullif(breaker.trial_lease_id, %(lease_id)s)
returning
    provider, state, failures,
    coalesce(greatest(extract(epoch from retry_at - clock_timestamp()), 0), 0) as retry_after_s,
    changed_at, last_error_class, last_error;

-- name: report_success
-- Record a success: the count is reset, and a trial's success closes the breaker.
update circuit_breaker
set failures = 0, state = 'closed', retry_at = null, trial_lease_id = null
where
    provider = %(provider)s
    and (state = 'closed' and failures > 0 or trial_lease_id = %(lease_id)s);

-- name: breakers
-- The state of every provider's breaker.
select
    provider, state, failures,
    coalesce(greatest(extract(epoch from retry_at - clock_timestamp()), 0), 0) as retry_after_s,
    changed_at, last_error_class, last_error
from circuit_breaker
order by provider;

-- name: budgets
-- Every budget: reservations, recent use, and live leases.
select
    budget.budget, budget.next_at, budget.interval_s, budget.paused_until,
    greatest(extract(epoch from budget.next_at - clock_timestamp()), 0) as reserved_s,
    coalesce(recent.requests, 0) as last_minute,
    coalesce(spent.hour, 0) as this_hour,
    coalesce(spent.day, 0) as this_day,
    coalesce(spent.month, 0) as this_month,
    coalesce(recent.scheduled, 0) as scheduled_leases,
    coalesce(recent.backfill, 0) as backfill_leases
from request_budget as budget
left join lateral (
    select
        sum(used.requests) as requests,
        count(*) filter (where used.is_live and lease.lane = 'scheduled') as scheduled,
        count(*) filter (where used.is_live and lease.lane = 'backfill') as backfill
    from
        request_lease as lease
        cross join lateral (
            select
                count(*) filter (
                    where slot.at between clock_timestamp() - interval '60 seconds'
                    and clock_timestamp()
                    and slot.place <> all (lease.unused)
                ) as requests,
                lease.expires_at > clock_timestamp() and lease.released_at is null as is_live
            from unnest(lease.slots) with ordinality as slot (at, place)
        ) as used
    where
        lease.expires_at > clock_timestamp() - interval '2 minutes'
        and budget.budget = any (lease.budgets)
) as recent on true
left join lateral (
    select
        sum(usage.requests) filter (
            where usage.hour >= date_trunc('hour', clock_timestamp(), 'UTC')
        ) as hour,
        sum(usage.requests) filter (
            where usage.hour >= date_trunc('day', clock_timestamp(), 'UTC')
        ) as day,
        sum(usage.requests) as month
    from request_usage as usage
    where
        usage.budget = budget.budget
        and usage.hour >= date_trunc('month', clock_timestamp(), 'UTC')
) as spent on true
order by budget.budget;

-- name: quota_use
-- Use of a calendar quota in its present period, and the period's end.
select
    coalesce((
        select sum(usage.weight)
        from request_usage as usage
        where usage.budget = %(budget)s and usage.hour > period.begin_at - interval '1 hour'
    ), 0) as used,
    (period.begin_at at time zone %(zone)s + ('1 ' || %(period)s)::interval)
        at time zone %(zone)s as resets_at
from (select date_trunc(%(period)s, clock_timestamp(), %(zone)s) as begin_at) as period;
