-- What is known of backups, of restores on trial, and of a database that was just restored.

create type backup_kind as enum (
    'full',         -- pgBackRest: everything
    'differential', -- pgBackRest: what changed since the last full backup
    'incremental',  -- pgBackRest: what changed since the last backup
    'portable'      -- pg_dump: rows, for a server of any other kind
);

create table backup_run (
    backup_run_id bigint generated always as identity primary key,
    kind backup_kind not null,
    label text,
    started_at timestamptz not null,
    finished_at timestamptz not null,
    bytes bigint,
    stored_bytes bigint,
    first_wal text,
    last_wal text,
    postgres_version text,
    timescaledb_version text,
    error text,
    constraint backup_run_ends_after_its_start check (finished_at >= started_at),
    constraint backup_run_has_a_label_or_an_error check ((label is null) = (error is not null))
);
comment on table backup_run is
'Each backup that a command took or tried to. The repository itself says which still exist.';
comment on column backup_run.kind is
'As taken: the first backup of a repository is full, whatever was asked for.';
comment on column backup_run.label is
'pgBackRest''s label, or the folder of a portable backup in the bucket; null if it failed.';
comment on column backup_run.bytes is 'Size of the databases.';
comment on column backup_run.stored_bytes is 'What this backup added to the repository.';
comment on column backup_run.first_wal is 'First WAL segment that a restore of it needs.';
comment on column backup_run.timescaledb_version is
'A restore needs the extension of exactly this version.';

-- Serves the metrics and `wrdata backup list`: the latest of each kind.
create index backup_run_latest on backup_run (kind, finished_at desc);

create table restore_drill (
    restore_drill_id bigint generated always as identity primary key,
    target timestamptz not null,
    started_at timestamptz not null,
    finished_at timestamptz,
    backup_label text,
    rpo_s double precision,
    rto_s double precision,
    tables_compared integer,
    rows_compared bigint,
    rows_completed bigint,
    error text,
    constraint restore_drill_that_ended_well_has_figures check (
        finished_at is null or error is not null or (
            rpo_s is not null and rto_s is not null and backup_label is not null
            and tables_compared is not null and rows_compared is not null
        )
    )
);
comment on table restore_drill is
'Each restore on trial: a backup restored to a moment and compared with production.';
comment on column restore_drill.target is
'The moment. Its row is the first commit after it, so that a restore to it can end.';
comment on column restore_drill.finished_at is 'Null while it runs, or if it was killed.';
comment on column restore_drill.rpo_s is
'Seconds until this row was safe in the repository: what a loss just before would have cost.';
comment on column restore_drill.rto_s is
'Seconds from the order to restore until the copy could serve, rows from the archive included.';
comment on column restore_drill.rows_completed is
'Rows that only the archive had, restored into the copy.';
comment on column restore_drill.error is 'Why it failed: which tables differ, or what broke.';

-- Serves the metrics: the latest drill that ended well.
create index restore_drill_latest on restore_drill (finished_at desc) where error is null;

create table recovery_hold (
    recovery_hold_id bigint generated always as identity primary key,
    reason text not null,
    target timestamptz not null,
    held_at timestamptz not null default clock_timestamp(),
    released_at timestamptz,
    released_by text,
    accepted text,
    constraint recovery_hold_is_released_by_somebody
    check ((released_at is null) = (released_by is null))
);
comment on table recovery_hold is
'A restore writes a row into the database that it restored. While one is not released, schedules
and sensors start nothing: `wrdata recover` releases it when all stores agree.';
comment on column recovery_hold.target is 'The moment whose rows the database holds.';
comment on column recovery_hold.accepted is
'What a person let stand although the stores did not agree, in that person''s words.';

-- Serves every tick of a schedule: whether there is a hold, of which there is at most one.
create unique index recovery_hold_open on recovery_hold ((true)) where released_at is null;
