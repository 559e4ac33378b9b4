-- name: wait_for_removal
-- Wait for a removal to end, then share the lock of the dataset with other commits.
select pg_advisory_xact_lock_shared(hashtextextended('wrdata.archive.' || %(dataset)s, 0));

-- name: try_to_remove
-- Take the lock of the dataset exclusively; returns whether that succeeded.
select pg_try_advisory_xact_lock(hashtextextended('wrdata.archive.' || %(dataset)s, 0)) as is_ours;

-- name: logged_snapshots
-- All snapshots that committed a period of a dataset.
select distinct snapshot_id
from archive_log
where dataset = %(dataset)s;
