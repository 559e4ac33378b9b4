-- name: claim_invalidations
-- Take what waits for one interval; what another refresh holds is left to it.
delete from rollup_invalidation
where invalidation_id in (
    select waiting.invalidation_id
    from rollup_invalidation as waiting
    where waiting.interval = %(interval)s
    order by waiting.invalidation_id
    for update skip locked
)
returning instrument_id, lower(span) as starts_on, upper(span) as ends_before;

-- name: lock_rollups
-- Two refreshes that claimed the same bucket go one after the other, so that the one which read
-- the newer bars also writes last. One order for all keeps them from deadlocking.
select pg_advisory_xact_lock(hashtext('wrdata.rollup.' || %(interval)s::text), buckets.bucket)
from (
    select distinct (wanted.instrument_id %% 256)::integer as bucket
    from unnest(%(instrument_ids)s::bigint[]) as wanted (instrument_id)
    order by bucket
) as buckets;

-- name: refresh_buckets
-- Recompute exactly the buckets within the claimed spans; write only those that differ.
with
span as (
    select
        joined.instrument_id,
        unnest(joined.days) as days
    from (
        select
            claimed.instrument_id,
            range_agg(daterange(claimed.starts_on, claimed.ends_before)) as days
        from unnest(
            %(instrument_ids)s::bigint[], %(starts_on)s::date[], %(ends_before)s::date[]
        ) as claimed (instrument_id, starts_on, ends_before)
        group by claimed.instrument_id
    ) as joined
),

fresh as materialized (
    select
        bar.instrument_id,
        bar_bucket(%(interval)s::bar_interval, bar.session_date) as bucket_start,
        first(bar.open, bar.session_date) as open,
        max(bar.high) as high,
        min(bar.low) as low,
        last(bar.close, bar.session_date) as close,
        -- In a fixed order: sums of doubles depend on it in their last digit.
        sum(bar.volume order by bar.session_date) as volume,
        count(*)::integer as sessions
    from span
    inner join daily_bar as bar
        on
            bar.instrument_id = span.instrument_id
            and bar.session_date >= lower(span.days)
            and bar.session_date < upper(span.days)
    group by bar.instrument_id, bucket_start
),

held as materialized (
    select rollup.*
    from span
    inner join bar_rollup as rollup
        on
            rollup.interval = %(interval)s::bar_interval
            and rollup.instrument_id = span.instrument_id
            and rollup.bucket_start >= lower(span.days)
            and rollup.bucket_start < upper(span.days)
),

written as (
    insert into bar_rollup (
        interval, instrument_id, bucket_start, open, high, low, close, volume, sessions
    )
    select
        %(interval)s::bar_interval,
        fresh.instrument_id,
        fresh.bucket_start,
        fresh.open,
        fresh.high,
        fresh.low,
        fresh.close,
        fresh.volume,
        fresh.sessions
    from fresh
    left join held using (instrument_id, bucket_start)
    where
        held.instrument_id is null
        or (held.open, held.high, held.low, held.close, held.volume, held.sessions)
        is distinct from
        (fresh.open, fresh.high, fresh.low, fresh.close, fresh.volume, fresh.sessions)
    on conflict (interval, instrument_id, bucket_start) do update
        set
            open = excluded.open,
            high = excluded.high,
            low = excluded.low,
            close = excluded.close,
            volume = excluded.volume,
            sessions = excluded.sessions
    returning 1
),

emptied as (
    delete from bar_rollup
    using (
        select
            held.instrument_id,
            held.bucket_start
        from held
        left join fresh using (instrument_id, bucket_start)
        where fresh.instrument_id is null
    ) as gone
    where
        bar_rollup.interval = %(interval)s::bar_interval
        and bar_rollup.instrument_id = gone.instrument_id
        and bar_rollup.bucket_start = gone.bucket_start
    returning 1
)

select
    (select count(*) from written) + (select count(*) from emptied) as changed,
    (select count(*) from fresh) as recomputed;

-- name: recomputed_difference
-- Buckets where the roll-up differs from all bars recomputed; buckets that wait are left out.
with
fresh as (
    select
        bar.instrument_id,
        bar_bucket(%(interval)s::bar_interval, bar.session_date) as bucket_start,
        first(bar.open, bar.session_date) as open,
        max(bar.high) as high,
        min(bar.low) as low,
        last(bar.close, bar.session_date) as close,
        sum(bar.volume order by bar.session_date) as volume,
        count(*)::integer as sessions
    from daily_bar as bar
    group by bar.instrument_id, bucket_start
),

held as (
    select rollup.*
    from bar_rollup as rollup
    where rollup.interval = %(interval)s::bar_interval
)

select
    instrument_id,
    bucket_start,
    case
        when held.interval is null then 'the roll-up lacks this bucket'
        when fresh.open is null then 'no bar belongs to this bucket'
        else 'the values differ'
    end as difference
from fresh
full join held using (instrument_id, bucket_start)
where
    (held.open, held.high, held.low, held.close, held.volume, held.sessions)
    is distinct from
    (fresh.open, fresh.high, fresh.low, fresh.close, fresh.volume, fresh.sessions)
    and not exists (
        select from rollup_invalidation as waiting
        where
            waiting.interval = %(interval)s::bar_interval
            and waiting.instrument_id = coalesce(fresh.instrument_id, held.instrument_id)
            and waiting.span @> coalesce(fresh.bucket_start, held.bucket_start)
    )
order by instrument_id, bucket_start
limit %(limit)s;

-- name: waiting_invalidations
-- How many invalidations wait, by interval.
select
    rollup_invalidation.interval::text,
    count(*)
from rollup_invalidation
group by rollup_invalidation.interval;

-- name: count_rows
-- How many rows the roll-up of one interval has.
select count(*)
from bar_rollup
where bar_rollup.interval = %(interval)s::bar_interval;
