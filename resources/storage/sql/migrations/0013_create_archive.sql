-- Which period of which dataset is archived, with the proofs; what was dropped after them; and the
-- archive's own catalogue.

create table archive_log (
    archive_id bigint generated always as identity primary key,
    dataset text not null,
    period text not null,
    span daterange not null,
    files jsonb not null,
    bounds jsonb not null,
    rows bigint not null,
    bytes bigint not null,
    content_digest text not null,
    column_sha256 jsonb not null,
    schema_fingerprint text not null,
    snapshot_id bigint not null,
    code_version text not null,
    archived_at timestamptz not null default now(),
    superseded_at timestamptz,
    -- Serves "what is archived": proofs that are valid together never hold the same days.
    constraint archive_log_valid
    exclude using gist (dataset with =, span with &&) where (superseded_at is null)
);
comment on table archive_log is
'What proves that the archive holds a period of a dataset, with the history of those proofs.';
comment on column archive_log.period is 'A month, a year, or all.';
comment on column archive_log.span is 'Days (of UTC) whose rows the files hold.';
comment on column archive_log.files is
'The period''s Parquet files in the order of their rows: object_key, rows, bytes, file_sha256.';
comment on column archive_log.bounds is 'Least and greatest value by column, as text.';
comment on column archive_log.content_digest is
'Digest of all rows of the period in their order (marketdata/content_hash.py), however they are cut into files.';
comment on column archive_log.superseded_at is
'When a later proof of the same days took its place; null on the proof that is valid now.';

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

-- The Iceberg catalogue's two tables, as the JDBC catalogue defines them for every engine; apart from
-- ours. Here and not on first use: two programs that open the archive for the first time at the same
-- time would both create them, and one would fail.
create schema iceberg_catalog;

create table iceberg_catalog.iceberg_tables (
    catalog_name varchar(255) not null,
    table_namespace varchar(255) not null,
    table_name varchar(255) not null,
    metadata_location varchar(1000),
    previous_metadata_location varchar(1000),
    primary key (catalog_name, table_namespace, table_name)
);

create table iceberg_catalog.iceberg_namespace_properties (
    catalog_name varchar(255) not null,
    namespace varchar(255) not null,
    property_key varchar(255) not null,
    property_value varchar(1000) not null,
    primary key (catalog_name, namespace, property_key)
);
