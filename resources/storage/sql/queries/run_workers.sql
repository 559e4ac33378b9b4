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

-- name: take_daemon_lock
-- Become the one daemon that works, until this transaction ends.
select pg_try_advisory_xact_lock(hashtextextended('wrdata.daemon', 0));

-- name: daemon_lock_holder
-- The name under which the daemon that works has connected.
select activity.application_name
from pg_locks
inner join pg_stat_activity as activity using (pid)
where
    pg_locks.locktype = 'advisory' and pg_locks.granted
    and pg_locks.database = (select oid from pg_database where datname = current_database())
    and (pg_locks.classid::bigint << 32 | pg_locks.objid::bigint)
    = hashtextextended('wrdata.daemon', 0);
