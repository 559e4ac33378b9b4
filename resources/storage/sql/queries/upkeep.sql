-- name: prune_breaker_transitions
-- Delete old changes of circuit breakers.
delete from circuit_breaker_transition where changed_at < %(before)s;

-- name: prune_request_usage
-- Delete hours of use that no monthly or yearly quota counts any more.
delete from request_usage where hour < %(before)s;

-- name: keep_store_size
-- Store the result of a listing of the bucket.
insert into store_size as known (store, objects, bytes) values (%(store)s, %(objects)s, %(bytes)s)
on conflict (store) do update
set objects = excluded.objects, bytes = excluded.bytes, measured_at = clock_timestamp();

-- name: store_sizes
-- The results of earlier listings of the bucket.
select store, objects, bytes, measured_at from store_size order by store;

-- name: table_sizes
-- Rows and bytes, indexes included, of these tables; missing ones are left out. Rows are
-- the planner's estimate, null if the table was not analyzed yet.
select
    named.name,
    case
        when hypertable.hypertable_name is null
            then nullif(relation.reltuples, -1)::bigint
        when hypertable.num_chunks = 0 then 0
        else nullif(approximate_row_count(relation.oid), 0)
    end as row_count,
    case
        when hypertable.hypertable_name is null then pg_total_relation_size(relation.oid)
        else coalesce(hypertable_size(relation.oid), 0)
    end as bytes
from
    unnest(%(names)s::text []) as named (name)
    inner join pg_class as relation on relation.oid = to_regclass(named.name)
    left join timescaledb_information.hypertables as hypertable
        on hypertable.hypertable_name = relation.relname
        and hypertable.hypertable_schema = relation.relnamespace::regnamespace::text;
