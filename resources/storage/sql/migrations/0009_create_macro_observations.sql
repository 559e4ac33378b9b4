-- Macroeconomic observations with every value they ever had, and what was known on a day.

create table macro_observation (
    instrument_id bigint not null,
    observed_on date not null,
    realtime_start date not null,
    realtime_end date not null,
    value numeric,
    provider text not null,
    ingest_id bigint not null,
    known_from timestamptz not null,
    -- Serves one series in order, the history of one period, and the loader's comparison.
    primary key (instrument_id, observed_on, realtime_start),
    constraint macro_observation_lasted check (realtime_start <= realtime_end),
    constraint macro_observation_is_a_number
    check (value <> 'nan' and value < 'infinity' and value > '-infinity')
);
-- No hypertable: twenty series with all their vintages are 0.1 M rows, and every question is
-- about one series or one day of all.
comment on table macro_observation is
'One row for each value that a period of a series ever had, as the provider published it.';
comment on column macro_observation.observed_on is
'The period: its first day, of a week the day that ends it, as the provider dates it.';
comment on column macro_observation.realtime_start is
'The vintage: the day (St. Louis) on which the value was published.';
comment on column macro_observation.realtime_end is
'Last day on which it was the latest value; 9999-12-31 while it is. A revision closes it, so the row is restated then.';
comment on column macro_observation.value is
'Null: the provider says that there is none, such as on a holiday. A period that was not published has no row.';

-- A closed span is the normal course of a revision: its row as it was before is kept too.
select create_version_table('macro_observation');

-- Plain SQL with a parameter that is no column, so that the planner can look into it: a
-- condition on instrument_id or observed_on reaches the index.
create function macro_as_of(at timestamptz)
returns table (instrument_id bigint, observed_on date, value numeric, realtime_start date)
language sql stable parallel safe
as $$
    -- Rows of a period never overlap if they are right; should they, the newest one counts.
    select distinct on (held.instrument_id, held.observed_on)
        held.instrument_id,
        held.observed_on,
        held.value,
        held.realtime_start
    from macro_observation as held
    where
        held.realtime_start <= (at at time zone 'America/Chicago')::date
        and held.realtime_end >= (at at time zone 'America/Chicago')::date
    order by held.instrument_id, held.observed_on, held.realtime_start desc
$$;
comment on function macro_as_of is
'The latest value of each period as published by a moment. Vintages are known to the day only: each counts from the beginning of its day in St. Louis (America/Chicago), some hours before its release. Who must not look ahead asks for the day before. A null value is one that was published as missing; a period without a row was not published.';
