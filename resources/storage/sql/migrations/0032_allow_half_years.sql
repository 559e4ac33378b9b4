-- Companies outside of the United States report half-years: they are periods like the others.

alter table income_statement
drop constraint income_statement_period_is_known,
add constraint income_statement_period_is_known check (
    (period_type = 'annual' and fiscal_period = 'FY')
    or (period_type = 'half_yearly' and fiscal_period in ('H1', 'H2'))
    or (period_type = 'quarterly' and fiscal_period in ('Q1', 'Q2', 'Q3', 'Q4'))
);

alter table balance_sheet
drop constraint balance_sheet_period_is_known,
add constraint balance_sheet_period_is_known check (
    (period_type = 'annual' and fiscal_period = 'FY')
    or (period_type = 'half_yearly' and fiscal_period in ('H1', 'H2'))
    or (period_type = 'quarterly' and fiscal_period in ('Q1', 'Q2', 'Q3', 'Q4'))
);

alter table cash_flow_statement
drop constraint cash_flow_statement_period_is_known,
add constraint cash_flow_statement_period_is_known check (
    (period_type = 'annual' and fiscal_period = 'FY')
    or (period_type = 'half_yearly' and fiscal_period in ('H1', 'H2'))
    or (period_type = 'quarterly' and fiscal_period in ('Q1', 'Q2', 'Q3', 'Q4'))
);

alter table financial_ratio
drop constraint financial_ratio_period_is_known,
add constraint financial_ratio_period_is_known check (
    (period_type = 'annual' and fiscal_period = 'FY')
    or (period_type = 'half_yearly' and fiscal_period in ('H1', 'H2'))
    or (period_type = 'quarterly' and fiscal_period in ('Q1', 'Q2', 'Q3', 'Q4'))
);
