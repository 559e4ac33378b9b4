-- What tells dividends of one day apart, in which currency they were paid and what a person said of
-- them, and spin-offs, which no provider lists.

alter table dividend add column ordinal integer not null default 1;
alter table dividend_version add column ordinal integer not null default 1;
comment on column dividend.ordinal is
'Counts the dividends of one share, ex-date and kind from 1 (marketdata.actions.numbered).';
alter table dividend drop constraint dividend_pkey;
alter table dividend add primary key (instrument_id, ex_date, kind, ordinal);
alter table dividend_version drop constraint dividend_version_pkey;
alter table dividend_version
add primary key (instrument_id, ex_date, kind, ordinal, known_from);
alter table dividend add constraint dividend_is_counted_from_one check (ordinal > 0);

create table dividend_check (
    instrument_id bigint not null,
    ex_date date not null,
    kind text not null,
    ordinal integer not null,
    amount numeric not null,
    currency text,
    verdict text not null,
    reason text not null,
    counted numeric,
    series text,
    observed_on date,
    rate numeric,
    checked_at timestamptz not null,
    primary key (instrument_id, ex_date, kind, ordinal),
    constraint dividend_check_verdict_is_known check (
        verdict in ('converted', 'confirmed', 'no_rate', 'above_price')
    ),
    constraint dividend_check_rate_is_whole check (num_nulls(observed_on, rate) in (0, 2)),
    constraint dividend_check_counts_or_waits check (
        (verdict in ('converted', 'confirmed')) = (counted is not null)
    )
);
comment on table dividend_check is
'Dividends that do not count in prices as they stand: converted, confirmed, or waiting for a person or a rate. Written anew whenever the factors of the instrument are derived.';
comment on column dividend_check.counted is
'In the currency of the prices, as it is taken out of them; null: it adjusts nothing.';
comment on column dividend_check.series is
'The series of exchange rates (FRED) that the currency is converted by; observed_on is the day of the rate, the last one before the ex-date.';

-- Append only: terms that change are not those that a person vouched for.
create table dividend_confirmation (
    instrument_id bigint not null,
    ex_date date not null,
    kind text not null,
    amount numeric not null,
    currency text not null,
    counted numeric not null,
    confirmed_by text not null,
    confirmed_at timestamptz not null default clock_timestamp(),
    reason text not null,
    primary key (instrument_id, ex_date, kind, amount, currency, confirmed_at),
    constraint dividend_confirmation_is_no_debt check (counted >= 0)
);
comment on table dividend_confirmation is
'What a person says a dividend is in the currency of the prices; the latest word counts.';
comment on column dividend_confirmation.currency is 'Of the dividend; empty where it is not told.';

create table spin_off (
    instrument_id bigint not null,
    ex_date date not null,
    spun_off text not null,
    value numeric not null,
    told_by text not null,
    told_at timestamptz not null default clock_timestamp(),
    reason text not null,
    primary key (instrument_id, ex_date, spun_off, told_at),
    constraint spin_off_is_no_debt check (value >= 0)
);
comment on table spin_off is
'Shares of another company that a share paid, as a person tells it; the latest word counts, and a value of 0 takes it back.';
comment on column spin_off.value is
'What they were worth, in the currency of the prices, for one share as it trades on ex_date.';
