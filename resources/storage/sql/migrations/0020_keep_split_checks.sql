-- What was held of a split's check is kept, so that factors as of any later moment can be told.

alter table split_check add column first_checked_at timestamptz;
alter table split_check alter column first_checked_at set default clock_timestamp();
comment on column split_check.first_checked_at is
'When the split was checked first; null where that was before checks were kept.';

create table split_check_version (
    like split_check,
    known_to timestamptz not null,
    primary key (instrument_id, ex_date, known_to)
);
comment on table split_check_version is 'What stood in split_check until known_to (excluded).';

create function keep_split_check() returns trigger
language plpgsql as $$
begin
    insert into split_check_version select old.*, clock_timestamp();
    return new;
end
$$;

create trigger keep_split_check before update on split_check
for each row when (old.* is distinct from new.*) execute function keep_split_check();
