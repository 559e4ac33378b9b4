-- name: beat
-- Record a heartbeat of the process that works on a run.
insert into run_worker as worker (run_id, job, place, pid, born)
values (%(run_id)s, %(job)s, %(place)s, %(pid)s, %(born)s)
on conflict (run_id) do update
set
    place = excluded.place, pid = excluded.pid, born = excluded.born,
    beat_at = clock_timestamp(), ended_at = null;

-- name: leave
-- Record that the worker ended in good order.
update run_worker
set ended_at = clock_timestamp(), beat_at = clock_timestamp()
where run_id = %(run_id)s;

-- name: all
-- Every worker. No heartbeat could arrive while the server was down.
select
    run_id, job, place, pid, born, started_at, ended_at is not null as has_left,
    extract(
        epoch from clock_timestamp() - greatest(beat_at, pg_postmaster_start_time())
    )::double precision as silent_s
from run_worker
order by started_at, run_id;

-- name: forget
-- Remove the workers of runs that are over.
delete from run_worker where run_id = any (%(run_ids)s::text[]);
