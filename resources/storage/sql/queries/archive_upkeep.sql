-- name: wait_for_removal
-- Share the dataset with other runs that commit, once no removal is under way.
select pg_advisory_xact_lock_shared(hashtextextended('wrdata.archive.' || %(dataset)s, 0));

-- name: try_to_remove
-- Whether the dataset is ours alone now.
select pg_try_advisory_xact_lock(hashtextextended('wrdata.archive.' || %(dataset)s, 0)) as is_ours;

-- name: logged_snapshots
-- The snapshots that ever committed a period of a dataset.
select distinct snapshot_id
from archive_log
where dataset = %(dataset)s;
