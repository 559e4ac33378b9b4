-- Splits, dividends and spin-offs, what prices say of them, and prices adjusted for them.

create table split (
    instrument_id bigint not null,
    ex_date date not null,
    new_shares numeric not null,
    old_shares numeric not null,
    kind text,
    provider text not null,
    ingest_id bigint not null,
    known_from timestamptz not null,
    -- Serves one instrument's splits in order, and the loader's comparison.
    primary key (instrument_id, ex_date),
    -- The last line of defence behind marketdata.actions.validate_splits.
    constraint split_changes_shares
    check (new_shares > 0 and old_shares > 0 and new_shares <> old_shares)
);
comment on table split is
'old_shares became new_shares before the session ex_date; announced ones included. See split_check.';
comment on column split.kind is 'The provider''s word, such as stock-split; null where it has none.';
select create_version_table('split');

create table dividend (
    instrument_id bigint not null,
    ex_date date not null,
    kind text not null,
    ordinal integer not null default 1,
    amount numeric not null,
    currency text,
    declaration_date date,
    record_date date,
    payment_date date,
    frequency text,
    provider text not null,
    ingest_id bigint not null,
    known_from timestamptz not null,
    -- Serves one instrument's dividends in order, and the loader's comparison.
    primary key (instrument_id, ex_date, kind, ordinal),
    -- The last line of defence behind marketdata.actions.validate_dividends.
    constraint dividend_is_paid check (amount > 0),
    constraint dividend_kind_is_known check (kind in ('regular', 'special')),
    constraint dividend_is_counted_from_one check (ordinal > 0)
);
comment on column dividend.ordinal is
'Counts the dividends of one share, ex-date and kind from 1 (marketdata.actions.numbered).';
comment on column dividend.amount is 'As paid on a share of ex_date, not adjusted for later splits.';
comment on column dividend.currency is 'Null where the provider does not tell it, such as FMP.';
select create_version_table('dividend');

-- Serves the calendars: what is cut in these days, of all instruments.
create index split_by_day on split (ex_date);
create index dividend_by_day on dividend (ex_date);

create table split_check (
    instrument_id bigint not null,
    ex_date date not null,
    new_shares numeric not null,
    old_shares numeric not null,
    verdict text not null,
    reason text not null,
    checked_at timestamptz not null,
    first_checked_at timestamptz not null default clock_timestamp(),
    confirmed_by text,
    confirmed_at timestamptz,
    confirmed_reason text,
    primary key (instrument_id, ex_date),
    constraint split_check_verdict_is_known check (
        verdict in ('confirmed', 'unproven', 'inverse', 'no_jump', 'mismatch', 'duplicate')
    ),
    constraint split_check_confirmation_is_whole check (
        num_nulls(confirmed_by, confirmed_at, confirmed_reason) in (0, 3)
    )
);
comment on table split_check is
'What prices say of a split (marketdata.split_checks). With another verdict than confirmed or unproven it adjusts nothing until a person confirms it or a later answer mends it.';
comment on column split_check.new_shares is
'The terms that were judged: a split whose terms have changed since is judged anew, confirmed or not.';
comment on column split_check.first_checked_at is 'When the split was checked first.';

-- Serves the list of what waits for a person.
create index split_check_waiting on split_check (ex_date desc)
where verdict not in ('confirmed', 'unproven') and confirmed_by is null;

-- What was held of a split's check is kept, so that factors as of any later moment can be told.
create table split_check_version (
    like split_check,
    known_to timestamptz not null,
    primary key (instrument_id, ex_date, known_to)
);
comment on table split_check_version is 'What stood in split_check until known_to (excluded).';

create function keep_split_check() returns trigger
language plpgsql as $$
begin
    insert into split_check_version select old.*, clock_timestamp();
    return new;
end
$$;

create trigger keep_split_check before update on split_check
for each row when (old.* is distinct from new.*) execute function keep_split_check();

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

-- No provider lists spin-offs: a person tells them.
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

create table price_factor (
    instrument_id bigint primary key,
    first_days date[] not null,
    split_factors double precision[] not null,
    dividend_factors double precision[] not null,
    last_session date not null,
    derived_at timestamptz not null,
    constraint price_factor_has_both_for_each_step check (
        cardinality(first_days) > 0
        and first_days[1] = '0001-01-01'
        and cardinality(split_factors) = cardinality(first_days)
        and cardinality(dividend_factors) = cardinality(first_days)
    ),
    constraint price_factor_is_positive check (
        0 < all (split_factors) and 'infinity' > all (split_factors)
        and 0 < all (dividend_factors) and 1 >= all (dividend_factors)
    )
);
comment on column price_factor.last_session is
'The latest bar that was looked at: actions after it change nothing yet.';
comment on table price_factor is
'An instrument''s factors by step: from first_days[n] to the day before first_days[n + 1], split_factors[n] makes as-traded prices ones in the shares of the latest bar, dividend_factors[n] takes later dividends out of them.';

create function bar_shares_of(
    session_date date, adjustment bar_adjustment, known_from timestamptz
) returns date
language sql stable parallel safe
return case adjustment
    when 'as_traded' then session_date
    else greatest(session_date, (known_from at time zone 'America/New_York')::date)
end;
comment on function bar_shares_of is
'The day whose shares a bar''s prices are for. What a provider adjusts for splits is in the shares of the day on which it came: so no split is adjusted for twice, and one that came later is not forgotten.';

-- A view, and no table of adjusted bars. Measured with 500 instruments, 1.42 M bars and 44 steps
-- each, on 2 cores shared with other work: reading all of it through the view takes 1.4 times as long
-- as the bars themselves where they are as traded (4.8 against 3.5 s), 2.2 times where they are
-- adjusted for splits (the moment each came has to become a day); one instrument takes 10-25 ms,
-- one session 5-15 ms. From a hypertable all of it takes as long as the bars themselves. But that
-- takes 388 MB where the factors take 0.6 and 20 s to fill, a dividend writes thousands of rows, and
-- it is stale after every load of bars until it is derived again; the view never is.
-- Steps as rows of their own took four times as long, since each bar looks through its instrument's.
create view adjusted_daily_bars as
select
    bar.instrument_id,
    bar.session_date,
    'splits'::bar_adjustment as adjustment,
    bar.open * held.split_factor as open,
    bar.high * held.split_factor as high,
    bar.low * held.split_factor as low,
    bar.close * held.split_factor as close,
    bar.volume / held.split_factor as volume,
    held.split_factor,
    1::double precision as dividend_factor
from daily_bar as bar
inner join price_factor as own
    on own.instrument_id = bar.instrument_id
cross join lateral (
    select
        own.split_factors[
            width_bucket(
                bar_shares_of(bar.session_date, bar.adjustment, bar.known_from), own.first_days
            )
        ] as split_factor
) as held
where bar.adjustment <> 'splits_and_dividends'
union all
select
    bar.instrument_id,
    bar.session_date,
    'splits_and_dividends'::bar_adjustment as adjustment,
    bar.open * (held.split_factor * held.dividend_factor) as open,
    bar.high * (held.split_factor * held.dividend_factor) as high,
    bar.low * (held.split_factor * held.dividend_factor) as low,
    bar.close * (held.split_factor * held.dividend_factor) as close,
    bar.volume / held.split_factor as volume,
    held.split_factor,
    held.dividend_factor
from daily_bar as bar
inner join price_factor as own
    on own.instrument_id = bar.instrument_id
cross join lateral (
    select
        own.split_factors[
            width_bucket(
                bar_shares_of(bar.session_date, bar.adjustment, bar.known_from), own.first_days
            )
        ] as split_factor,
        own.dividend_factors[width_bucket(bar.session_date, own.first_days)] as dividend_factor
) as held
where bar.adjustment <> 'splits_and_dividends';
comment on view adjusted_daily_bars is
'Daily bars adjusted for splits, and for splits and dividends: choose one by adjustment. An instrument whose factors were never derived is not in it, nor are bars that came adjusted for dividends.';

create function price_factor_on(
    own price_factor, day date, wanted bar_adjustment
) returns double precision
language sql immutable parallel safe
return own.split_factors[width_bucket(day, own.first_days)]
* case wanted
    when 'splits_and_dividends'
        then own.dividend_factors[width_bucket(day, own.first_days)]
    else 1
end;
comment on function price_factor_on is
'What as-traded prices of a day are multiplied with, by the adjustment that is wanted.';
