-- Splits and dividends, what prices say of each split, and prices adjusted for both.

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

create table split_version (
    like split,
    known_to timestamptz not null,
    replaced_by_ingest_id bigint not null,
    primary key (instrument_id, ex_date, known_from),
    constraint split_version_lasted check (known_from < known_to)
);

create table dividend (
    instrument_id bigint not null,
    ex_date date not null,
    kind text not null,
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
    primary key (instrument_id, ex_date, kind),
    -- The last line of defence behind marketdata.actions.validate_dividends.
    constraint dividend_is_paid check (amount > 0),
    constraint dividend_kind_is_known check (kind in ('regular', 'special'))
);
comment on column dividend.amount is 'As paid on a share of ex_date, not adjusted for later splits.';
comment on column dividend.currency is 'Null where the provider does not tell it, such as FMP.';

create table dividend_version (
    like dividend,
    known_to timestamptz not null,
    replaced_by_ingest_id bigint not null,
    primary key (instrument_id, ex_date, kind, known_from),
    constraint dividend_version_lasted check (known_from < known_to)
);

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

-- Serves the list of what waits for a person.
create index split_check_waiting on split_check (ex_date desc)
where verdict not in ('confirmed', 'unproven') and confirmed_by is null;

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
