-- Weekly and monthly bars, refreshed for exactly what a load touched.

create type bar_interval as enum (
    '1w', -- ISO weeks: buckets start on Monday
    '1mo' -- calendar months: buckets start on the first
);

create function bar_bucket(wanted bar_interval, day date) returns date
language sql immutable parallel safe
return case wanted
    when '1w' then day - (extract(isodow from day)::integer - 1)
    when '1mo' then day - (extract(day from day)::integer - 1)
end;

create function bar_bucket_end(wanted bar_interval, bucket_start date) returns date
language sql immutable parallel safe
return case wanted
    when '1w' then bucket_start + 7
    when '1mo' then (bucket_start + interval '1 month')::date
end;

create table rollup_invalidation (
    invalidation_id bigint generated always as identity primary key,
    interval bar_interval not null,
    instrument_id bigint not null,
    span daterange not null,
    created_at timestamptz not null default now(),
    constraint rollup_invalidation_is_some_time check (not isempty(span))
);
comment on table rollup_invalidation is
'Whole buckets that no longer equal their bars; written by the loader, claimed by a refresh.';

-- Serves the claim: the oldest invalidations of one interval.
create index rollup_invalidation_queue on rollup_invalidation (interval, invalidation_id);

create table bar_rollup (
    interval bar_interval not null,
    instrument_id bigint not null,
    bucket_start date not null,
    open double precision not null,
    high double precision not null,
    low double precision not null,
    close double precision not null,
    volume double precision not null,
    sessions integer not null,
    -- Serves one instrument's history in order, and the refresh. One table for all intervals
    -- and no hypertable: 500 instruments and 20 years make 0.65 M rows.
    primary key (interval, instrument_id, bucket_start)
);

create view bars_1w as
select instrument_id, bucket_start, open, high, low, close, volume, sessions
from bar_rollup
where interval = '1w';

create view bars_1mo as
select instrument_id, bucket_start, open, high, low, close, volume, sessions
from bar_rollup
where interval = '1mo';
