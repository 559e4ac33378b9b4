-- The archive holds every dataset, in periods of one or more files; what was dropped is known.

-- A proof is about a period now (a month, a year, or all), whose rows may lie in several files.
alter table archive_log
add column period text,
add column span daterange,
add column files jsonb,
add column bounds jsonb;

update archive_log
set
    period = to_char(month, 'YYYY-MM'),
    span = daterange(month, (month + interval '1 month')::date),
    files = jsonb_build_array(
        jsonb_build_object(
            'object_key', object_key, 'rows', rows, 'bytes', bytes, 'file_sha256', file_sha256
        )
    ),
    bounds = jsonb_build_object('session_date', jsonb_build_array(first_session, last_session));

drop index archive_log_valid;
alter table archive_log
alter column period set not null,
alter column span set not null,
alter column files set not null,
alter column bounds set not null,
drop column month,
drop column object_key,
drop column file_sha256,
drop column first_session,
drop column last_session;

comment on table archive_log is
'What proves that the archive holds a period of a dataset, with the history of those proofs.';
comment on column archive_log.span is 'Days (of UTC) whose rows the files hold.';
comment on column archive_log.files is
'The period''s Parquet files in the order of their rows: object_key, rows, bytes, file_sha256.';
comment on column archive_log.bounds is 'Least and greatest value by column, as text.';
comment on column archive_log.content_digest is
'Digest of all rows of the period in their order (marketdata/content_hash.py), however they are cut into files.';

-- Serves "what is archived": proofs that are valid together never hold the same days.
alter table archive_log add constraint archive_log_valid
exclude using gist (dataset with =, span with &&) where (superseded_at is null);

create table archive_tombstone (
    tombstone_id bigint generated always as identity primary key,
    dataset text not null,
    span daterange not null,
    archive_id bigint not null references archive_log,
    rows bigint not null,
    dropped_at timestamptz not null default now(),
    dropped_by text not null,
    restored_at timestamptz,
    restored_by text,
    constraint archive_tombstone_is_some_time check (not isempty(span)),
    constraint archive_tombstone_restored_by_somebody
    check (num_nulls(restored_at, restored_by) in (0, 2)),
    -- Serves "is this day in the archive only": one answer at most.
    constraint archive_tombstone_stands_once
    exclude using gist (dataset with =, span with &&) where (restored_at is null)
);
comment on table archive_tombstone is
'Days of a dataset whose rows were dropped from the database after the proof archive_id; until restored_at they are in the archive only, and no aggregate of them is computed again.';
