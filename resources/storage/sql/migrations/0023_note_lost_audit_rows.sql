-- What a loss of the database would have cost the audit log, as a restore drill found it.

alter table restore_drill add column audit_rows_lost bigint;
comment on column restore_drill.audit_rows_lost is
'Rows that production had when the copy was up, and that the journal did not give back.';
