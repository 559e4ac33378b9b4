-- What grows with time: how large the object store's part is, and which permits were given back.

create table store_size (
    store text primary key,
    objects bigint not null,
    bytes bigint not null,
    measured_at timestamptz not null default clock_timestamp()
);
comment on table store_size is
'Size of what only a listing of the bucket can tell, as the weekly upkeep found it.';

alter table request_lease add column unused integer [] not null default '{}';
comment on column request_lease.unused is
'Places (from 1) in slots that were given back: no request was sent on them.';

create or replace function give_back_request_lease(p_lease_id bigint, p_unused integer [])
returns void language plpgsql as $$
declare
    v_lease request_lease;
    v_tail integer;
begin
    select lease.* into v_lease from request_lease as lease where lease.lease_id = p_lease_id;
    if not found then
        return;
    end if;
    perform from request_budget as budget
    where budget.budget = any (v_lease.budgets) order by budget.budget for update;

    -- The tail: every place from v_tail to the end is unused.
    select min(place) into v_tail
    from generate_subscripts(v_lease.slots, 1) as place
    where
        place > all (
            select used from generate_subscripts(v_lease.slots, 1) as used
            where used <> all (p_unused)
        );
    update request_budget as budget
    set next_at = greatest(v_lease.slots[v_tail], budget.paused_until)
    from unnest(v_lease.budgets, v_lease.ends_at) as charged (budget, end_at)
    where v_tail is not null and budget.budget = charged.budget and budget.next_at = charged.end_at;

    update request_usage as usage
    set
        requests = usage.requests - cardinality(p_unused),
        weight = usage.weight - (select sum(v_lease.weights[place]) from unnest(p_unused) as place)
    where
        usage.budget = any (v_lease.budgets)
        and usage.lane = v_lease.lane
        and usage.hour = date_trunc('hour', v_lease.slots[1], 'UTC')
        and cardinality(p_unused) > 0;

    update request_lease as lease
    set
        unused = lease.unused || p_unused,
        released_at = case when v_tail is not null then clock_timestamp() else lease.released_at end
    where lease.lease_id = p_lease_id;

    update circuit_breaker as breaker set retry_at = clock_timestamp()
    where breaker.provider = v_lease.provider and breaker.trial_lease_id = p_lease_id;
end $$;
