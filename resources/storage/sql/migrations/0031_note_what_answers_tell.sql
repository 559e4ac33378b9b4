-- Facts about an answer on which nobody has to act: what the venue itself lacks, which source was
-- used instead of which, what is new on the wire.

alter table ingest_log add column notes text[] not null default '{}';
comment on column ingest_log.notes is
'One sentence a fact, such as which minutes of a day neither the file nor REST has.';
comment on column ingest_log.rows_rejected is
'Rows that could not be read or broke a rule; those of one reason are one dead letter.';
