-- What the exporter of metrics reads and no other table tells at little cost: times of requests,
-- limits of budgets, and totals of the ingest log.

create table request_timing (
    timed text not null,
    provider text not null,
    outcome text not null,
    error_class text not null,
    requests bigint not null,
    seconds double precision not null,
    buckets bigint[] not null,
    primary key (timed, provider, outcome, error_class),
    constraint request_timing_of_requests_or_waits check (timed in ('request', 'permit_wait')),
    constraint request_timing_buckets_hold_all_requests check (cardinality(buckets) = 10)
) with (fillfactor = 50); -- Rewritten with every lease: room for the new row on the same page.
comment on table request_timing is
'Times of requests and of their waits for a permit, added up over all processes since the beginning.';
comment on column request_timing.seconds is 'The sum of the times.';
comment on column request_timing.buckets is
'How many of the times lie in each bucket of marketdata/recovery/request_timings.py; the last is for longer ones.';

create table request_limit (
    budget text primary key,
    provider text not null,
    bounds jsonb not null
);
comment on table request_limit is 'What the processes that last asked for a lease held each budget to.';
comment on column request_limit.bounds is
'A list of {period, weight, window_s} for a pace and {period, weight, zone} for a quota.';

create table ingest_total (
    dataset text not null,
    provider text not null,
    part smallint not null,
    loaded bigint not null,
    failed bigint not null,
    rows_inserted bigint not null,
    rows_unchanged bigint not null,
    rows_restated bigint not null,
    rows_stale bigint not null,
    rows_rejected bigint not null,
    rows_withdrawn bigint not null,
    latest_loaded_at timestamptz,
    primary key (dataset, provider, part)
) with (fillfactor = 50);
comment on table ingest_total is
'The ingest log added up, since a scrape may not read all of it.';
comment on column ingest_total.part is
'Sessions of the database share several rows, so that commits seldom wait for each other.';

insert into ingest_total
select
    dataset, provider, 0,
    count(*) filter (where outcome = 'loaded'),
    count(*) filter (where outcome = 'failed'),
    sum(rows_inserted), sum(rows_unchanged), sum(rows_restated), sum(rows_stale),
    sum(rows_rejected), sum(rows_withdrawn),
    max(finished_at) filter (where outcome = 'loaded')
from ingest_log
group by dataset, provider;

create function count_ingest() returns trigger language plpgsql as $$
begin
    insert into ingest_total as total values (
        new.dataset, new.provider, pg_backend_pid() % 16,
        (new.outcome = 'loaded')::integer, (new.outcome = 'failed')::integer,
        new.rows_inserted, new.rows_unchanged, new.rows_restated, new.rows_stale,
        new.rows_rejected, new.rows_withdrawn,
        case when new.outcome = 'loaded' then new.finished_at end
    )
    on conflict (dataset, provider, part) do update set
        loaded = total.loaded + excluded.loaded,
        failed = total.failed + excluded.failed,
        rows_inserted = total.rows_inserted + excluded.rows_inserted,
        rows_unchanged = total.rows_unchanged + excluded.rows_unchanged,
        rows_restated = total.rows_restated + excluded.rows_restated,
        rows_stale = total.rows_stale + excluded.rows_stale,
        rows_rejected = total.rows_rejected + excluded.rows_rejected,
        rows_withdrawn = total.rows_withdrawn + excluded.rows_withdrawn,
        latest_loaded_at = greatest(total.latest_loaded_at, excluded.latest_loaded_at);
    return null;
end $$;

-- At the commit: the row of totals is locked last, and only while the commit is written.
create constraint trigger ingest_log_is_counted
after insert on ingest_log deferrable initially deferred
for each row execute function count_ingest();

create function record_requests(p_provider text, p_charges jsonb, p_timings jsonb)
returns void language plpgsql as $$
begin
    insert into request_limit (budget, provider, bounds)
    select charge.budget, p_provider, charge.bounds
    from jsonb_to_recordset(p_charges) as charge (budget text, bounds jsonb)
    where not exists (
        select from request_limit as known
        where
            known.budget = charge.budget
            and known.provider = p_provider
            and known.bounds = charge.bounds
    )
    order by charge.budget
    on conflict (budget) do update
    set provider = excluded.provider, bounds = excluded.bounds;

    -- One order for all keeps processes from deadlocking.
    insert into request_timing as known (
        timed, provider, outcome, error_class, requests, seconds, buckets
    )
    select
        timing.timed, timing.provider, timing.outcome, timing.error_class, timing.requests,
        timing.seconds, timing.buckets
    from jsonb_to_recordset(p_timings) as timing (
        timed text, provider text, outcome text, error_class text, requests bigint,
        seconds double precision, buckets bigint []
    )
    order by timing.timed, timing.provider, timing.outcome, timing.error_class
    on conflict (timed, provider, outcome, error_class) do update
    set
        requests = known.requests + excluded.requests,
        seconds = known.seconds + excluded.seconds,
        buckets = (
            select array_agg(pair.before + pair.more order by pair.place)
            from unnest(known.buckets, excluded.buckets)
                with ordinality as pair (before, more, place)
        );
end $$;
comment on function record_requests is
'Adds up times of requests, and notes what their budgets are held to where that has changed.';

-- Serves the exporter: how many letters wait in which state, and since when, from the index alone.
create index dead_letter_waiting on dead_letter (dataset, state, first_seen_at)
where state in ('open', 'retrying', 'parked');
