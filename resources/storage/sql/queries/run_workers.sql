-- name: beat
-- This process works on a run, now.
insert into run_worker as worker (run_id, job, place, pid, born)
values (%(run_id)s, %(job)s, %(place)s, %(pid)s, %(born)s)
on conflict (run_id) do update
set
    place = excluded.place, pid = excluded.pid, born = excluded.born,
    beat_at = clock_timestamp(), ended_at = null;

-- name: leave
-- The work is done, or given up in good order.
update run_worker
set ended_at = clock_timestamp(), beat_at = clock_timestamp()
where run_id = %(run_id)s;

-- name: all
-- Every worker. While the server was away nobody could be heard of.
select
    run_id, job, place, pid, born, started_at, ended_at is not null as has_left,
    extract(
        epoch from clock_timestamp() - greatest(beat_at, pg_postmaster_start_time())
    )::double precision as silent_s
from run_worker
order by started_at, run_id;

-- name: forget
-- Workers of runs that are over.
delete from run_worker where run_id = any (%(run_ids)s::text[]);
