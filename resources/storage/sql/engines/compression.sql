-- TimescaleDB refuses compression where a trigger sees all deleted rows at once, so that deletions
-- write invalidations row by row if the edition compresses (resources/storage/compression.py runs this).

create or replace function invalidate_deleted_minute_bar() returns trigger
language plpgsql as $$
declare
    starts timestamptz := date_bin('5 minutes', old.opened_at, 'epoch');
    bucket text := format('%s %s %s', old.instrument_id, old.provider, starts);
begin
    -- Neighbours are deleted one after the other: a bucket is noted with the first of them.
    if current_setting('wrdata.deleted_bucket', true) is distinct from bucket then
        insert into minute_bar_invalidation (instrument_id, provider, span)
        values (
            old.instrument_id, old.provider, tstzrange(starts, starts + interval '5 minutes')
        );
        perform set_config('wrdata.deleted_bucket', bucket, true);
    end if;
    return null;
end
$$;

create or replace function invalidate_deleted_daily_bar() returns trigger
language plpgsql as $$
begin
    insert into daily_bar_invalidation (instrument_id, span)
    values (old.instrument_id, daterange(old.session_date, old.session_date + 1));
    return null;
end
$$;

drop trigger minute_bar_deleted on minute_bar;
create trigger minute_bar_deleted after delete on minute_bar
for each row execute function invalidate_deleted_minute_bar();

drop trigger daily_bar_deleted on daily_bar;
create trigger daily_bar_deleted after delete on daily_bar
for each row execute function invalidate_deleted_daily_bar();
