-- Who did what, when, from where: an append-only log whose rows are chained by their hashes.

create table audit_head (
    only_row boolean primary key default true,
    last_id bigint not null,
    last_hash bytea not null,
    constraint audit_head_is_one_row check (only_row)
);
comment on table audit_head is
'The end of the chain. Without it a log whose last rows were cut off would look whole.';

insert into audit_head (last_id, last_hash) values (0, decode(repeat('00', 32), 'hex'));

create table audit_log (
    id bigint primary key,
    at timestamptz not null,
    who text not null,
    origin text not null,
    action text not null,
    subject text not null,
    details jsonb not null default '{}',
    canonical text not null,
    previous_hash bytea not null,
    hash bytea not null,
    constraint audit_log_names_who_and_where check (who <> '' and origin <> ''),
    constraint audit_log_hashes_are_sha256
    check (octet_length(previous_hash) = 32 and octet_length(hash) = 32)
);
comment on table audit_log is
'Append-only; nothing prunes it. Ids have no gaps. A trigger gives id, time, text and hashes.';
comment on column audit_log.at is 'When the row was chained: clock_timestamp().';
comment on column audit_log.who is 'A person as user@host, a run, a schedule or a sensor.';
comment on column audit_log.origin is 'From where: host and process, or the address of a client.';
comment on column audit_log.action is 'One of the actions of marketdata/audit.py.';
comment on column audit_log.subject is 'What it was done to: a run id, a period, a setting.';
comment on column audit_log.details is 'What else is worth knowing; never a secret.';
comment on column audit_log.canonical is
'The text that was hashed: all other columns but hash, as JSON. Kept, so that no verifier has to
imitate how PostgreSQL writes JSON.';
comment on column audit_log.previous_hash is 'Hash of the row before; zeros for the first row.';
comment on column audit_log.hash is 'SHA-256 of canonical in UTF-8.';

-- A run or a backfill is launched once and cancelled once, however many look at it.
create unique index audit_log_run_event on audit_log (action, subject)
where action in ('run_launched', 'run_cancelled', 'backfill_launched');

-- Serves the list of one action, and the latest configuration and privileges.
create index audit_log_action on audit_log (action, id desc);

-- The head's lock lasts until the end of the transaction, so that rows commit in the order of the
-- chain. As its definer, since writers may insert rows but not touch the head.
create function chain_audit_row() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    select head.last_id + 1, head.last_hash into strict new.id, new.previous_hash
    from public.audit_head as head for update;
    new.at := clock_timestamp();
    new.canonical := jsonb_build_object(
        'id', new.id,
        'at', to_char(new.at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
        'who', new.who,
        'origin', new.origin,
        'action', new.action,
        'subject', new.subject,
        'details', new.details,
        'previous_hash', encode(new.previous_hash, 'hex')
    )::text;
    new.hash := sha256(convert_to(new.canonical, 'UTF8'));
    update public.audit_head set last_id = new.id, last_hash = new.hash;
    return new;
end
$$;

create trigger audit_log_is_chained
before insert on audit_log
for each row execute function chain_audit_row();

create function refuse_to_alter_audit() returns trigger
language plpgsql as $$
begin
    raise exception '% of % is refused: the audit log is only added to', tg_op, tg_table_name
    using errcode = 'insufficient_privilege';
end
$$;

create trigger audit_log_is_kept
before update or delete or truncate on audit_log
for each statement execute function refuse_to_alter_audit();

create trigger audit_head_is_kept
before insert or delete or truncate on audit_head
for each statement execute function refuse_to_alter_audit();

-- The insert of a row of the log moves the head from within a trigger.
create trigger audit_head_moves_with_the_log
before update on audit_head
for each statement when (pg_trigger_depth() < 1)
execute function refuse_to_alter_audit();

create table audit_anchor (
    anchor_id bigint generated always as identity primary key,
    anchored_at timestamptz not null,
    audit_id bigint not null,
    hash bytea not null,
    object_key text not null
);
comment on table audit_anchor is
'Which rows were anchored in the locked bucket. Verification reads the bucket, not this table.';

create trigger audit_anchor_is_kept
before update or delete or truncate on audit_anchor
for each statement execute function refuse_to_alter_audit();

create table audit_verification (
    verification_id bigint generated always as identity primary key,
    verified_at timestamptz not null default clock_timestamp(),
    valid boolean not null,
    through_id bigint not null,
    finding text not null
);
comment on table audit_verification is 'Results of verifications; metrics and alerts read the last.';
comment on column audit_verification.through_id is 'The last row that was read.';
comment on column audit_verification.finding is 'What is wrong, or what was compared.';

create trigger audit_verification_is_kept
before update or delete or truncate on audit_verification
for each statement execute function refuse_to_alter_audit();
