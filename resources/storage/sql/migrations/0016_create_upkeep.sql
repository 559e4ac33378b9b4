-- What the upkeep of the pipeline itself rests on.

-- Which process works on which run, and when it was last heard of: Dagster knows neither once the
-- process and the server that started it are both gone.
create table run_worker (
    run_id text primary key,
    job text not null,
    place text not null,
    pid integer not null,
    born text not null,
    started_at timestamptz not null default clock_timestamp(),
    beat_at timestamptz not null default clock_timestamp(),
    ended_at timestamptz
);
comment on table run_worker is
'Kept by each worker while it works; rows of runs that ended are removed by later looks.';
comment on column run_worker.place is 'Host and namespace in which the process id is meant.';
comment on column run_worker.born is 'Boot id and start time of the process.';
comment on column run_worker.ended_at is 'The worker has left the run in good order.';

create table store_size (
    store text primary key,
    objects bigint not null,
    bytes bigint not null,
    measured_at timestamptz not null default clock_timestamp()
);
comment on table store_size is
'Size of what only a listing of the bucket can tell, as the weekly upkeep found it.';
