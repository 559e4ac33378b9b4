-- Which month of which dataset is archived where, with the proofs; history is kept.

-- The Iceberg catalogue's own tables live apart from ours.
create schema if not exists iceberg_catalog;

create table archive_log (
    archive_id bigint generated always as identity primary key,
    dataset text not null,
    month date not null,
    object_key text not null,
    rows bigint not null,
    bytes bigint not null,
    first_session date not null,
    last_session date not null,
    file_sha256 text not null,
    content_digest text not null,
    column_sha256 jsonb not null,
    schema_fingerprint text not null,
    snapshot_id bigint not null,
    code_version text not null,
    archived_at timestamptz not null default now(),
    superseded_at timestamptz,
    constraint archive_log_month_is_a_first check (extract(day from month) = 1)
);
comment on column archive_log.superseded_at is
'When a later row of the same month took its place; null on the row that is valid now.';

-- Serves "what is archived": at most one valid row a month.
create unique index archive_log_valid on archive_log (dataset, month)
where superseded_at is null;
