-- One id follows a piece of work: from the schedule's tick or the command that began it through its
-- run and the run's retries to what is stored. Null where nothing was followed.

alter table ingest_log add column correlation_id text;
alter table dead_letter add column correlation_id text;
alter table archive_log add column correlation_id text;

comment on column ingest_log.correlation_id is
'Of the tick or command that asked for it, in log lines too; null before this column was there.';
comment on column dead_letter.correlation_id is
'Of the work that failed first: repeats and retries leave it.';
comment on column archive_log.correlation_id is
'Of the work that wrote the files; the snapshot carries it too.';

-- Serves "what came of this work": letters and archived periods are few, answers are not.
create index ingest_log_correlation on ingest_log (correlation_id)
where correlation_id is not null;
