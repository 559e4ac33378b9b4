-- Statements and ratios by the convention of 0003, and reads of them as of a moment. Names are those
-- of the quoted Arrow schemas (marketdata/statements.py).
--
-- Lines are numeric, since amounts are exact. Those without a column of their own are in answer, the
-- provider's whole row. FMP writes a line that is not reported as 0, so that 0 cannot be told from
-- missing; null is only what came as null. Companies outside of the United States report half-years.

create table income_statement (
    instrument_id bigint not null,
    period_type text not null,
    fiscal_date date not null,
    fiscal_period text not null,
    fiscal_year integer not null,
    reported_currency text not null,
    filing_date date,
    accepted_at timestamptz,
    revenue numeric,
    cost_of_revenue numeric,
    gross_profit numeric,
    research_and_development numeric,
    selling_general_and_administrative numeric,
    operating_expenses numeric,
    depreciation_and_amortization numeric,
    operating_income numeric,
    ebitda numeric,
    ebit numeric,
    interest_income numeric,
    interest_expense numeric,
    income_before_tax numeric,
    income_tax_expense numeric,
    net_income_from_continuing_operations numeric,
    net_income numeric,
    eps numeric,
    eps_diluted numeric,
    weighted_average_shares numeric,
    weighted_average_shares_diluted numeric,
    answer jsonb not null,
    provider text not null,
    ingest_id bigint not null,
    known_from timestamptz not null,
    -- A fiscal year and its fourth quarter end on the same day. Serves the loader's comparison.
    primary key (instrument_id, period_type, fiscal_date, fiscal_period),
    constraint income_statement_period_is_known check (
        (period_type = 'annual' and fiscal_period = 'FY')
        or (period_type = 'half_yearly' and fiscal_period in ('H1', 'H2'))
        or (period_type = 'quarterly' and fiscal_period in ('Q1', 'Q2', 'Q3', 'Q4'))
    ),
    constraint income_statement_is_filed_afterwards check (filing_date >= fiscal_date)
);
comment on table income_statement is
'Income of a company in a fiscal year or quarter, in reported_currency; expenses are positive.';
comment on column income_statement.accepted_at is
'When the SEC took the filing that these figures are of: the moment from which they were public.';
-- Chunks of ten years: 500 companies have 2,500 rows a year, so that twenty years are three chunks,
-- and thousands of companies still fit in memory chunk by chunk.
select create_hypertable('income_statement', by_range('fiscal_date', interval '10 years'));
-- Serves the latest statements of one company.
create index income_statement_latest
on income_statement (instrument_id, period_type, fiscal_date desc);
-- Serves questions about lines without a column: answer @? '$.goodwill ? (@ > 0)' and the like.
create index income_statement_answer on income_statement using gin (answer jsonb_path_ops);
select create_version_table('income_statement');

create table balance_sheet (
    instrument_id bigint not null,
    period_type text not null,
    fiscal_date date not null,
    fiscal_period text not null,
    fiscal_year integer not null,
    reported_currency text not null,
    filing_date date,
    accepted_at timestamptz,
    cash_and_cash_equivalents numeric,
    short_term_investments numeric,
    net_receivables numeric,
    inventory numeric,
    total_current_assets numeric,
    property_plant_and_equipment numeric,
    goodwill numeric,
    intangible_assets numeric,
    long_term_investments numeric,
    total_assets numeric,
    accounts_payable numeric,
    short_term_debt numeric,
    deferred_revenue numeric,
    total_current_liabilities numeric,
    long_term_debt numeric,
    total_liabilities numeric,
    common_stock numeric,
    retained_earnings numeric,
    accumulated_other_comprehensive_income numeric,
    total_stockholders_equity numeric,
    minority_interest numeric,
    total_equity numeric,
    total_debt numeric,
    net_debt numeric,
    answer jsonb not null,
    provider text not null,
    ingest_id bigint not null,
    known_from timestamptz not null,
    primary key (instrument_id, period_type, fiscal_date, fiscal_period),
    constraint balance_sheet_period_is_known check (
        (period_type = 'annual' and fiscal_period = 'FY')
        or (period_type = 'half_yearly' and fiscal_period in ('H1', 'H2'))
        or (period_type = 'quarterly' and fiscal_period in ('Q1', 'Q2', 'Q3', 'Q4'))
    ),
    constraint balance_sheet_is_filed_afterwards check (filing_date >= fiscal_date)
);
comment on table balance_sheet is
'Balance of a company at the end of a fiscal year or quarter, in reported_currency.';
select create_hypertable('balance_sheet', by_range('fiscal_date', interval '10 years'));
create index balance_sheet_latest
on balance_sheet (instrument_id, period_type, fiscal_date desc);
create index balance_sheet_answer on balance_sheet using gin (answer jsonb_path_ops);
select create_version_table('balance_sheet');

create table cash_flow_statement (
    instrument_id bigint not null,
    period_type text not null,
    fiscal_date date not null,
    fiscal_period text not null,
    fiscal_year integer not null,
    reported_currency text not null,
    filing_date date,
    accepted_at timestamptz,
    net_income numeric,
    depreciation_and_amortization numeric,
    stock_based_compensation numeric,
    change_in_working_capital numeric,
    operating_cash_flow numeric,
    capital_expenditure numeric,
    acquisitions numeric,
    investing_cash_flow numeric,
    net_debt_issuance numeric,
    common_stock_issuance numeric,
    common_stock_repurchased numeric,
    dividends_paid numeric,
    financing_cash_flow numeric,
    effect_of_exchange_rates numeric,
    net_change_in_cash numeric,
    cash_at_beginning_of_period numeric,
    cash_at_end_of_period numeric,
    free_cash_flow numeric,
    income_taxes_paid numeric,
    interest_paid numeric,
    answer jsonb not null,
    provider text not null,
    ingest_id bigint not null,
    known_from timestamptz not null,
    primary key (instrument_id, period_type, fiscal_date, fiscal_period),
    constraint cash_flow_statement_period_is_known check (
        (period_type = 'annual' and fiscal_period = 'FY')
        or (period_type = 'half_yearly' and fiscal_period in ('H1', 'H2'))
        or (period_type = 'quarterly' and fiscal_period in ('Q1', 'Q2', 'Q3', 'Q4'))
    ),
    constraint cash_flow_statement_is_filed_afterwards check (filing_date >= fiscal_date)
);
comment on table cash_flow_statement is
'Cash flow of a company in a fiscal year or quarter, in reported_currency; outflows are negative.';
select create_hypertable('cash_flow_statement', by_range('fiscal_date', interval '10 years'));
create index cash_flow_statement_latest
on cash_flow_statement (instrument_id, period_type, fiscal_date desc);
create index cash_flow_statement_answer on cash_flow_statement using gin (answer jsonb_path_ops);
select create_version_table('cash_flow_statement');

create table financial_ratio (
    instrument_id bigint not null,
    period_type text not null,
    fiscal_date date not null,
    fiscal_period text not null,
    fiscal_year integer not null,
    reported_currency text not null,
    gross_profit_margin numeric,
    ebitda_margin numeric,
    operating_profit_margin numeric,
    net_profit_margin numeric,
    receivables_turnover numeric,
    inventory_turnover numeric,
    asset_turnover numeric,
    current_ratio numeric,
    quick_ratio numeric,
    cash_ratio numeric,
    price_to_earnings numeric,
    price_to_book numeric,
    price_to_sales numeric,
    price_to_free_cash_flow numeric,
    debt_to_assets numeric,
    debt_to_equity numeric,
    financial_leverage numeric,
    interest_coverage numeric,
    dividend_payout numeric,
    dividend_yield numeric,
    dividend_per_share numeric,
    revenue_per_share numeric,
    book_value_per_share numeric,
    operating_cash_flow_per_share numeric,
    free_cash_flow_per_share numeric,
    effective_tax_rate numeric,
    enterprise_value_multiple numeric,
    answer jsonb not null,
    provider text not null,
    ingest_id bigint not null,
    known_from timestamptz not null,
    primary key (instrument_id, period_type, fiscal_date, fiscal_period),
    constraint financial_ratio_period_is_known check (
        (period_type = 'annual' and fiscal_period = 'FY')
        or (period_type = 'half_yearly' and fiscal_period in ('H1', 'H2'))
        or (period_type = 'quarterly' and fiscal_period in ('Q1', 'Q2', 'Q3', 'Q4'))
    )
);
comment on table financial_ratio is
'Ratios of a fiscal year or quarter as the provider computed them: plain fractions, 0.46 being 46 %.';
select create_hypertable('financial_ratio', by_range('fiscal_date', interval '10 years'));
create index financial_ratio_latest
on financial_ratio (instrument_id, period_type, fiscal_date desc);
create index financial_ratio_answer on financial_ratio using gin (answer jsonb_path_ops);
select create_version_table('financial_ratio');

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

-- Reads as of a moment. A version of a row counts from when its figures became public, not from
-- when this database heard of them, so that history that was loaded later can be used:
--   the first version of a row from public_at;
--   a restated one from its own public_at where that is later than the previous version's, which
--   is a new filing, and otherwise from known_from: the provider changed what it said of the same
--   filing, which nobody could know before;
--   any version without public_at from known_from, the first answer that held it.
-- Of the versions that count at a moment the one that came last is right, so that each holds until
-- the next one begins. FMP keeps only the latest figures: what it restated before the first load
-- cannot be told from what was filed first.
--
-- The three functions differ by their table alone. They are plain queries, so that a condition on
-- instrument_id reaches the tables.
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
            create function %1$I (at timestamptz) returns setof %2$I
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
        execute format(
            'comment on function %I (timestamptz) is %L',
            target || 's_as_of',
            'The rows of ' || target || ' that were public at a moment, as they were told then.'
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
        create function financial_ratios_as_of(at timestamptz)
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
comment on function financial_ratios_as_of (timestamptz) is
'The rows of financial_ratio that were public at a moment, as they were told then.';
