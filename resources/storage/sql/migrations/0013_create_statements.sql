-- Statements, ratios, companies and index changes, by the convention of 0012: beside each table
-- stands <table>_version with what was replaced, and names are those of the quoted Arrow schemas
-- (marketdata/statements.py, marketdata/companies.py).
--
-- Lines are numeric, since amounts are exact. Those without a column of their own are in answer, the
-- provider's whole row. FMP writes a line that is not reported as 0, so that 0 cannot be told from
-- missing; null is only what came as null.

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

create table income_statement_version (
    like income_statement,
    known_to timestamptz not null,
    replaced_by_ingest_id bigint not null,
    primary key (instrument_id, period_type, fiscal_date, fiscal_period, known_from),
    constraint income_statement_version_lasted check (known_from < known_to)
);
comment on table income_statement_version is
'Values that were in income_statement from known_from (included) to known_to (excluded).';

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

create table balance_sheet_version (
    like balance_sheet,
    known_to timestamptz not null,
    replaced_by_ingest_id bigint not null,
    primary key (instrument_id, period_type, fiscal_date, fiscal_period, known_from),
    constraint balance_sheet_version_lasted check (known_from < known_to)
);
comment on table balance_sheet_version is
'Values that were in balance_sheet from known_from (included) to known_to (excluded).';

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

create table cash_flow_statement_version (
    like cash_flow_statement,
    known_to timestamptz not null,
    replaced_by_ingest_id bigint not null,
    primary key (instrument_id, period_type, fiscal_date, fiscal_period, known_from),
    constraint cash_flow_statement_version_lasted check (known_from < known_to)
);
comment on table cash_flow_statement_version is
'Values that were in cash_flow_statement from known_from (included) to known_to (excluded).';

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
        or (period_type = 'quarterly' and fiscal_period in ('Q1', 'Q2', 'Q3', 'Q4'))
    )
);
comment on table financial_ratio is
'Ratios of a fiscal year or quarter as the provider computed them: plain fractions, 0.46 being 46 %.';
select create_hypertable('financial_ratio', by_range('fiscal_date', interval '10 years'));
create index financial_ratio_latest
on financial_ratio (instrument_id, period_type, fiscal_date desc);
create index financial_ratio_answer on financial_ratio using gin (answer jsonb_path_ops);

create table financial_ratio_version (
    like financial_ratio,
    known_to timestamptz not null,
    replaced_by_ingest_id bigint not null,
    primary key (instrument_id, period_type, fiscal_date, fiscal_period, known_from),
    constraint financial_ratio_version_lasted check (known_from < known_to)
);
comment on table financial_ratio_version is
'Values that were in financial_ratio from known_from (included) to known_to (excluded).';

create table company (
    instrument_id bigint not null,
    name text not null,
    cik text,
    isin text,
    cusip text,
    exchange text,
    currency text,
    sector text,
    industry text,
    country text,
    listed_on date,
    employees bigint,
    website text,
    description text,
    is_etf boolean,
    is_trading boolean,
    answer jsonb not null,
    provider text not null,
    ingest_id bigint not null,
    known_from timestamptz not null,
    primary key (instrument_id),
    constraint company_cik_has_ten_digits check (cik ~ '^[0-9]{10}$'),
    constraint company_employees_is_not_negative check (employees >= 0)
);
comment on table company is
'What is known of the company behind an instrument; what is not told is null.';
comment on column company.answer is
'The provider''s row without the fields that change every day, such as price and volume.';

create table company_version (
    like company,
    known_to timestamptz not null,
    replaced_by_ingest_id bigint not null,
    primary key (instrument_id, known_from),
    constraint company_version_lasted check (known_from < known_to)
);
comment on table company_version is
'Values that were in company from known_from (included) to known_to (excluded).';

create table index_change (
    instrument_id bigint not null,
    effective_on date not null,
    ticker text not null,
    action text not null,
    security text,
    reason text,
    announced_on date,
    provider text not null,
    ingest_id bigint not null,
    known_from timestamptz not null,
    -- Serves the history of one index in order, and the loader's comparison.
    primary key (instrument_id, effective_on, ticker, action),
    constraint index_change_action_is_known check (action in ('added', 'removed'))
);
comment on table index_change is
'Who joined and left an index, which is the instrument; providers lack some additions of members.';
comment on column index_change.effective_on is
'The first day on which the index is with (added) or without (removed) the ticker.';
comment on column index_change.ticker is 'In our spelling, as it was then.';

create table index_change_version (
    like index_change,
    known_to timestamptz not null,
    replaced_by_ingest_id bigint not null,
    primary key (instrument_id, effective_on, ticker, action, known_from),
    constraint index_change_version_lasted check (known_from < known_to)
);
comment on table index_change_version is
'Values that were in index_change from known_from (included) to known_to (excluded).';

-- Reads as of a moment. A version of a row counts from when its figures became public, not from
-- when this database heard of them, so that history that was loaded later can be used:
--   the first version of a row from accepted_at;
--   a restated one from its own accepted_at where that is later than the previous version's, which
--   is a new filing, and otherwise from known_from: the provider changed what it said of the same
--   filing, which nobody could know before;
--   any version without accepted_at from known_from.
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
                                when told.accepted_at is null then told.known_from
                                when row_number() over versions = 1 then told.accepted_at
                                when told.accepted_at > lag(told.accepted_at) over versions
                                    then told.accepted_at
                                else told.known_from
                            end as begins_at
                        from (
                            select %3$s from %2$I
                            union all
                            select %3$s from %4$I
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

-- Ratios are not filed: the first version of a row counts from the first acceptance of the income
-- statement of the same period, without one from known_from, and a restated one from known_from.
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
        create function financial_ratios_as_of(at timestamptz) returns setof financial_ratio
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
                                select filed.accepted_at
                                from (
                                    select
                                        instrument_id, period_type, fiscal_date, fiscal_period,
                                        accepted_at, known_from
                                    from income_statement
                                    union all
                                    select
                                        instrument_id, period_type, fiscal_date, fiscal_period,
                                        accepted_at, known_from
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
