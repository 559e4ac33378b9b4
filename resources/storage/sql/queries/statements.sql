-- name: income_statements_as_of
-- One company's income statements as the public knew them at a moment, newest first.
select statement.*
from income_statements_as_of(%(at)s) as statement
where statement.instrument_id = %(instrument_id)s and statement.period_type = %(period_type)s
order by statement.fiscal_date desc;

-- name: balance_sheets_as_of
-- One company's balance sheets as the public knew them at a moment, newest first.
select statement.*
from balance_sheets_as_of(%(at)s) as statement
where statement.instrument_id = %(instrument_id)s and statement.period_type = %(period_type)s
order by statement.fiscal_date desc;

-- name: cash_flow_statements_as_of
-- One company's cash flow statements as the public knew them at a moment, newest first.
select statement.*
from cash_flow_statements_as_of(%(at)s) as statement
where statement.instrument_id = %(instrument_id)s and statement.period_type = %(period_type)s
order by statement.fiscal_date desc;

-- name: financial_ratios_as_of
-- One company's ratios as the public knew them at a moment, newest first.
select statement.*
from financial_ratios_as_of(%(at)s) as statement
where statement.instrument_id = %(instrument_id)s and statement.period_type = %(period_type)s
order by statement.fiscal_date desc;
