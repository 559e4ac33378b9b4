-- The log of invalidations: which buckets of which aggregates no longer equal their bars. Triggers
-- write it in the transaction of whoever writes bars, so that it survives every crash and no writer
-- can forget it.

create table minute_bar_invalidation (
    invalidation_id bigint generated always as identity primary key,
    instrument_id bigint not null,
    provider text not null,
    span tstzrange not null,
    noted_at timestamptz not null default now(),
    constraint minute_bar_invalidation_is_some_time check (not isempty(span))
);
comment on table minute_bar_invalidation is
'Whole buckets of five minutes, within a month of UTC, whose bars no longer equal minute_bar; those of days that lie in the archive only wait until these are restored.';
comment on column minute_bar_invalidation.noted_at is
'When the writer of the bars began its transaction.';

create table daily_bar_invalidation (
    invalidation_id bigint generated always as identity primary key,
    instrument_id bigint not null,
    span daterange not null,
    noted_at timestamptz not null default now(),
    constraint daily_bar_invalidation_is_some_time check (not isempty(span))
);
comment on table daily_bar_invalidation is
'Days within a year whose weeks, months, quarters and years no longer equal daily_bar.';
comment on column daily_bar_invalidation.noted_at is
'When the writer of the bars began its transaction.';

-- Serves "does anything wait for this bucket".
create index minute_bar_invalidation_of on minute_bar_invalidation
using gist (instrument_id, span);
create index daily_bar_invalidation_of on daily_bar_invalidation
using gist (instrument_id, span);

-- What lies in the archive only is frozen: its aggregates stay, and invalidations of it wait.

create function minutes_are_dropped(kind text, moments tstzrange) returns boolean
language sql stable
return exists (
    select from archive_tombstone as dropped
    where
        dropped.restored_at is null
        and dropped.dataset = case kind when 'pair' then 'crypto_bars' else 'minute_bars' end
        and moments && tstzrange(
            lower(dropped.span)::timestamp at time zone 'UTC',
            upper(dropped.span)::timestamp at time zone 'UTC'
        )
);

create function days_are_dropped(days daterange) returns boolean
language sql stable
return exists (
    select from archive_tombstone as dropped
    where
        dropped.restored_at is null
        and dropped.dataset = 'daily_bars'
        and days && dropped.span
);

create function invalidate_minute_bars() returns trigger
language plpgsql as $$
begin
    insert into minute_bar_invalidation (instrument_id, provider, span)
    select
        joined.instrument_id,
        joined.provider,
        unnest(joined.spans)
    from (
        select
            touched.instrument_id,
            touched.provider,
            range_agg(
                tstzrange(touched.bucket_start, touched.bucket_start + interval '5 minutes')
            ) as spans
        from (
            select distinct
                changed.instrument_id,
                changed.provider,
                date_bin('5 minutes', changed.opened_at, 'epoch') as bucket_start
            from changed
        ) as touched
        group by
            touched.instrument_id,
            touched.provider,
            date_trunc('month', touched.bucket_start, 'UTC')
    ) as joined;
    return null;
end
$$;

create function invalidate_daily_bars() returns trigger
language plpgsql as $$
begin
    -- Days at most a week apart are one span: whatever lies between them belongs to the buckets
    -- of one of the two, so that a year of sessions is one row and no bucket too many. Those of a
    -- calendar week are one anyway, and there are fewer weeks to aggregate.
    insert into daily_bar_invalidation (instrument_id, span)
    select
        joined.instrument_id,
        daterange(lower(joined.span), upper(joined.span) - 6)
    from (
        select
            week.instrument_id,
            unnest(range_agg(daterange(week.first_day, week.last_day + 7))) as span
        from (
            select
                changed.instrument_id,
                date_part('year', changed.session_date) as year,
                (changed.session_date - date '0001-01-01') / 7 as number,
                min(changed.session_date) as first_day,
                max(changed.session_date) as last_day
            from changed
            group by
                changed.instrument_id,
                date_part('year', changed.session_date),
                (changed.session_date - date '0001-01-01') / 7
        ) as week
        group by week.instrument_id, week.year
    ) as joined;
    return null;
end
$$;

-- One function serves the rows before and the rows after a change: both are called changed.
create trigger minute_bar_inserted after insert on minute_bar
referencing new table as changed
for each statement execute function invalidate_minute_bars();
create trigger minute_bar_updated_from after update on minute_bar
referencing old table as changed
for each statement execute function invalidate_minute_bars();
create trigger minute_bar_updated_to after update on minute_bar
referencing new table as changed
for each statement execute function invalidate_minute_bars();
create trigger minute_bar_deleted after delete on minute_bar
referencing old table as changed
for each statement execute function invalidate_minute_bars();

create trigger daily_bar_inserted after insert on daily_bar
referencing new table as changed
for each statement execute function invalidate_daily_bars();
create trigger daily_bar_updated_from after update on daily_bar
referencing old table as changed
for each statement execute function invalidate_daily_bars();
create trigger daily_bar_updated_to after update on daily_bar
referencing new table as changed
for each statement execute function invalidate_daily_bars();
create trigger daily_bar_deleted after delete on daily_bar
referencing old table as changed
for each statement execute function invalidate_daily_bars();
