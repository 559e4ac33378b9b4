-- Companies and index changes by the convention of 0003. Names are those of the quoted Arrow schemas
-- (marketdata/companies.py).

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
select create_version_table('company');

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
select create_version_table('index_change');
