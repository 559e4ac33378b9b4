-- When the figures of a statement became public, in place of whatever a provider puts into
-- accepted_at: some put the end of the period there, on which nobody knew the figures.

create function statement_public_at(
    fiscal_date date, filing_date date, accepted_at timestamptz, known_from timestamptz
) returns timestamptz
language sql stable parallel safe
return case
    when (accepted_at at time zone 'America/New_York')::date > fiscal_date
        -- EDGAR publishes at 06:00 of the filing date what it accepted the evening before.
        then greatest(
            accepted_at, (filing_date + time '06:00') at time zone 'America/New_York'
        )
    when filing_date > fiscal_date
        -- Some time of that day: when it is over, or when an answer held it already.
        then least(
            (filing_date + 1)::timestamp at time zone 'America/New_York',
            greatest(known_from, filing_date::timestamp at time zone 'America/New_York')
        )
end;
comment on function statement_public_at is
'When a filing became public, never before its filing date (New York) nor on the day on which its period ends; null where only impossible times are given, or none.';

-- The functions of migration 0013 with public_at in the place of accepted_at:
--   the first version of a row counts from public_at;
--   a restated one from its own public_at where that is later than the previous version's, which
--   is a new filing, and otherwise from known_from;
--   any version without public_at from known_from, the first answer that held it.
do $$
declare
    target text;
    names text;
begin
    foreach target in array array['income_statement', 'balance_sheet', 'cash_flow_statement'] loop
        select string_agg(format('%I', attname), ', ' order by attnum)
        into names
        from pg_attribute
        where attrelid = target::regclass and attnum > 0 and not attisdropped;
        execute format(
            $function$
            create or replace function %1$I (at timestamptz) returns setof %2$I
            language sql stable
            begin atomic
                select %3$s
                from (
                    select distinct on (instrument_id, period_type, fiscal_date, fiscal_period)
                        dated.*
                    from (
                        select
                            told.*,
                            case
                                when told.public_at is null then told.known_from
                                when row_number() over versions = 1 then told.public_at
                                when told.public_at > lag(told.public_at) over versions
                                    then told.public_at
                                else told.known_from
                            end as begins_at
                        from (
                            select
                                every.*,
                                statement_public_at(
                                    every.fiscal_date, every.filing_date, every.accepted_at,
                                    every.known_from
                                ) as public_at
                            from (
                                select %3$s from %2$I
                                union all
                                select %3$s from %4$I
                            ) as every
                        ) as told
                        window versions as (
                            partition by instrument_id, period_type, fiscal_date, fiscal_period
                            order by known_from
                        )
                    ) as dated
                    where dated.begins_at <= at
                    order by instrument_id, period_type, fiscal_date, fiscal_period, known_from desc
                ) as latest;
            end
            $function$,
            target || 's_as_of', target, names, target || '_version'
        );
    end loop;
end
$$;

-- Ratios are not filed: the first version of a row counts from when the income statement of the
-- same period became public, without one from known_from, and a restated one from known_from.
do $$
declare
    names text;
begin
    select string_agg(format('%I', attname), ', ' order by attnum)
    into names
    from pg_attribute
    where attrelid = 'financial_ratio'::regclass and attnum > 0 and not attisdropped;
    execute format(
        $function$
        create or replace function financial_ratios_as_of(at timestamptz)
        returns setof financial_ratio
        language sql stable
        begin atomic
            select %1$s
            from (
                select distinct on (instrument_id, period_type, fiscal_date, fiscal_period) dated.*
                from (
                    select
                        told.*,
                        case
                            when row_number() over versions = 1 then coalesce((
                                select statement_public_at(
                                    filed.fiscal_date, filed.filing_date, filed.accepted_at,
                                    filed.known_from
                                )
                                from (
                                    select
                                        instrument_id, period_type, fiscal_date, fiscal_period,
                                        filing_date, accepted_at, known_from
                                    from income_statement
                                    union all
                                    select
                                        instrument_id, period_type, fiscal_date, fiscal_period,
                                        filing_date, accepted_at, known_from
                                    from income_statement_version
                                ) as filed
                                where
                                    filed.instrument_id = told.instrument_id
                                    and filed.period_type = told.period_type
                                    and filed.fiscal_date = told.fiscal_date
                                    and filed.fiscal_period = told.fiscal_period
                                order by filed.known_from
                                limit 1
                            ), told.known_from)
                            else told.known_from
                        end as begins_at
                    from (
                        select %1$s from financial_ratio
                        union all
                        select %1$s from financial_ratio_version
                    ) as told
                    window versions as (
                        partition by instrument_id, period_type, fiscal_date, fiscal_period
                        order by known_from
                    )
                ) as dated
                where dated.begins_at <= at
                order by instrument_id, period_type, fiscal_date, fiscal_period, known_from desc
            ) as latest;
        end
        $function$,
        names
    );
end
$$;
