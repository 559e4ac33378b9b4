-- From a row of the ingest log to the answers as they came.

alter table ingest_log add column raw_answers text [] not null default '{}';
comment on column ingest_log.raw_answers is
'Keys of the raw answers in the bucket, in the order in which they came; empty before they were kept, and where none came.';
