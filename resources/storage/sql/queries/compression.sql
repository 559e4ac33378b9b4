-- name: compressed_tables
-- Tables whose older chunks are compressed.
select hypertable.hypertable_name::text
from timescaledb_information.hypertables as hypertable
where hypertable.hypertable_schema = 'public' and hypertable.compression_enabled
order by hypertable.hypertable_name;

-- name: compress
-- Set up the columnstore: by instrument, in the order of time.
alter table {table} set (
    timescaledb.enable_columnstore,
    timescaledb.segmentby = {segments},
    timescaledb.orderby = {order}
);

-- name: compress_what_is_old
-- Compress chunks by policy, except the newest days.
call add_columnstore_policy({compressed}, after => {hot_days} * interval '1 day');

-- name: compressed_sizes
-- Savings by table: bytes before and after, of compressed chunks.
select
    hypertable.hypertable_name::text,
    coalesce(sizes.before_compression_total_bytes, 0)::bigint as before,
    coalesce(sizes.after_compression_total_bytes, 0)::bigint as after
from timescaledb_information.hypertables as hypertable
left join lateral hypertable_columnstore_stats(
    format('%I.%I', hypertable.hypertable_schema, hypertable.hypertable_name)::regclass
) as sizes on true
where hypertable.hypertable_schema = 'public' and hypertable.compression_enabled
order by hypertable.hypertable_name;
