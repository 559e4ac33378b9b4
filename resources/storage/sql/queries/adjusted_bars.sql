-- name: lock_actions
-- Let one transaction at a time change this instrument: loads take the same lock.
select
    pg_advisory_xact_lock(hashtext('wrdata.instruments'), (%(instrument_id)s %% 256)::integer),
    clock_timestamp() as derived_at;

-- name: read_splits
-- All splits of an instrument, announced ones included.
select
    given.ex_date,
    given.new_shares,
    given.old_shares
from split as given
where given.instrument_id = %(instrument_id)s
order by given.ex_date;

-- name: read_dividends
-- All dividends of an instrument, announced ones included.
select
    given.ex_date,
    given.kind,
    given.ordinal,
    given.amount,
    given.currency
from dividend as given
where given.instrument_id = %(instrument_id)s
order by given.ex_date, given.kind, given.ordinal;

-- name: read_dividend_words
-- Confirmed amounts of an instrument's dividends, in the currency of the prices.
select distinct on (recorded.ex_date, recorded.kind, recorded.amount, recorded.currency)
    recorded.ex_date,
    recorded.kind,
    recorded.amount,
    recorded.currency,
    recorded.counted
from dividend_confirmation as recorded
where recorded.instrument_id = %(instrument_id)s
order by
    recorded.ex_date, recorded.kind, recorded.amount, recorded.currency, recorded.confirmed_at desc;

-- name: read_spin_offs
-- The spin-offs of an instrument, as recorded last.
select
    latest.ex_date,
    latest.value
from (
    select distinct on (recorded.ex_date, recorded.spun_off)
        recorded.ex_date,
        recorded.value
    from spin_off as recorded
    where recorded.instrument_id = %(instrument_id)s
    order by recorded.ex_date, recorded.spun_off, recorded.told_at desc
) as latest
where latest.value > 0
order by latest.ex_date;

-- name: read_rates
-- Exchange rates as known now, from shortly before a day on, oldest first.
select
    named.ticker as series,
    held.observed_on,
    held.value
from macro_as_of(now()) as held
inner join instrument_ticker as named
    on
        named.instrument_id = held.instrument_id
        and named.kind = 'series'
        and named.ticker = any(%(series)s::text[])
where held.observed_on > %(first)s::date - 15 and held.value > 0
order by named.ticker, held.observed_on;

-- name: forget_dividend_checks
-- Remove the checks of an instrument's dividends, before they are written anew.
delete from dividend_check
where instrument_id = %(instrument_id)s;

-- name: write_dividend_check
-- Store the check of a dividend that does not count as stored.
insert into dividend_check (
    instrument_id, ex_date, kind, ordinal, amount, currency, verdict, reason, counted, series,
    observed_on, rate, checked_at
) values (
    %(instrument_id)s, %(ex_date)s, %(kind)s, %(ordinal)s, %(amount)s, %(currency)s, %(verdict)s,
    %(reason)s, %(counted)s, %(series)s, %(observed_on)s, %(rate)s,
    coalesce(%(derived_at)s, clock_timestamp())
);

-- name: dividend_checks
-- Dividends that do not count as stored; waiting ones first, then the latest first.
select
    held.instrument_id,
    held.ex_date,
    held.kind,
    held.ordinal,
    held.amount,
    held.currency,
    held.verdict,
    held.reason,
    held.counted,
    held.series,
    held.observed_on,
    held.rate
from dividend_check as held
order by held.counted is not null, held.ex_date desc, held.instrument_id, held.kind, held.ordinal;

-- name: confirm_dividend
-- Record a person's amount of a dividend, in the currency of the prices.
insert into dividend_confirmation (
    instrument_id, ex_date, kind, amount, currency, counted, confirmed_by, reason
) values (
    %(instrument_id)s, %(ex_date)s, %(kind)s, %(amount)s, %(currency)s, %(counted)s, %(by)s,
    %(reason)s
);

-- name: tell_spin_off
-- Record a spin-off that a person enters.
insert into spin_off (instrument_id, ex_date, spun_off, value, told_by, reason)
values (%(instrument_id)s, %(ex_date)s, %(spun_off)s, %(value)s, %(by)s, %(reason)s);

-- name: read_prices
-- The prices of an instrument that the split check and the factors need.
select
    bar.session_date,
    bar.open,
    bar.close,
    bar.adjustment,
    (bar.known_from at time zone 'America/New_York')::date as known_on
from daily_bar as bar
where bar.instrument_id = %(instrument_id)s
order by bar.session_date;

-- name: read_checks
-- The verdicts on an instrument's splits, and whether a person has confirmed them.
select
    held.ex_date,
    held.new_shares,
    held.old_shares,
    held.verdict,
    held.reason,
    held.confirmed_by is not null as is_confirmed
from split_check as held
where held.instrument_id = %(instrument_id)s;

-- name: write_check
-- Store a verdict; an equal one is left alone, and changed terms undo a confirmation.
insert into split_check as held (
    instrument_id, ex_date, new_shares, old_shares, verdict, reason, checked_at
) values (
    %(instrument_id)s, %(ex_date)s, %(new_shares)s, %(old_shares)s, %(verdict)s, %(reason)s,
    %(derived_at)s
)
on conflict (instrument_id, ex_date) do update
set
    new_shares = excluded.new_shares,
    old_shares = excluded.old_shares,
    verdict = excluded.verdict,
    reason = excluded.reason,
    checked_at = excluded.checked_at,
    confirmed_by = case
        when (held.new_shares, held.old_shares) = (excluded.new_shares, excluded.old_shares)
            then held.confirmed_by
    end,
    confirmed_at = case
        when (held.new_shares, held.old_shares) = (excluded.new_shares, excluded.old_shares)
            then held.confirmed_at
    end,
    confirmed_reason = case
        when (held.new_shares, held.old_shares) = (excluded.new_shares, excluded.old_shares)
            then held.confirmed_reason
    end
where
    (held.new_shares, held.old_shares, held.verdict, held.reason)
    is distinct from
    (excluded.new_shares, excluded.old_shares, excluded.verdict, excluded.reason);

-- name: write_factors
-- Store an instrument's factors; return whether they have changed.
with
before as (
    select
        held.first_days,
        held.split_factors,
        held.dividend_factors
    from price_factor as held
    where held.instrument_id = %(instrument_id)s
),

written as (
    insert into price_factor (
        instrument_id, first_days, split_factors, dividend_factors, last_session, derived_at
    ) values (
        %(instrument_id)s, %(first_days)s, %(split_factors)s, %(dividend_factors)s,
        %(last_session)s, %(derived_at)s
    )
    on conflict (instrument_id) do update
    set
        first_days = excluded.first_days,
        split_factors = excluded.split_factors,
        dividend_factors = excluded.dividend_factors,
        last_session = excluded.last_session,
        derived_at = excluded.derived_at
    returning first_days, split_factors, dividend_factors
)

select
    (written.first_days, written.split_factors, written.dividend_factors)
    is distinct from
    (before.first_days, before.split_factors, before.dividend_factors) as is_changed
from written
left join before on true;

-- name: forget_factors
-- An instrument without a bar has no factors.
delete from price_factor
where instrument_id = %(instrument_id)s;

-- name: waiting
-- Instruments whose factors are out of date.
with
bars as (
    select
        bar.instrument_id,
        max(bar.session_date) as last_session
    from daily_bar as bar
    group by bar.instrument_id
),

actions as (
    select
        given.instrument_id,
        given.ex_date,
        given.known_from
    from split as given
    union all
    select
        given.instrument_id,
        given.ex_date,
        given.known_from
    from dividend as given
    union all
    -- A withdrawal counts from its own time.
    select
        gone.instrument_id,
        gone.ex_date,
        gone.known_to
    from split_version as gone
    union all
    select
        gone.instrument_id,
        gone.ex_date,
        gone.known_to
    from dividend_version as gone
)

select bars.instrument_id
from bars
left join price_factor as own on own.instrument_id = bars.instrument_id
where
    own.instrument_id is null
    or exists (
        select from actions
        where
            actions.instrument_id = bars.instrument_id
            and (
                actions.known_from > own.derived_at
                or (actions.ex_date > own.last_session and actions.ex_date <= bars.last_session)
            )
    )
    or exists (
        select from split_check as held
        where held.instrument_id = bars.instrument_id and held.confirmed_at > own.derived_at
    )
    or exists (
        select from dividend_confirmation as recorded
        where recorded.instrument_id = bars.instrument_id and recorded.confirmed_at > own.derived_at
    )
    or exists (
        select from spin_off as recorded
        where
            recorded.instrument_id = bars.instrument_id
            and (
                recorded.told_at > own.derived_at
                or (recorded.ex_date > own.last_session and recorded.ex_date <= bars.last_session)
            )
    )
    or exists (
        -- A new or revised rate of a dividend that is converted or waits for one.
        select from dividend_check as held
        inner join instrument_ticker as named
            on named.kind = 'series' and named.ticker = held.series
        inner join macro_observation as rate
            on
                rate.instrument_id = named.instrument_id
                and rate.observed_on < held.ex_date
                and rate.observed_on >= held.ex_date - 10
        where held.instrument_id = bars.instrument_id and rate.known_from > own.derived_at
    )
    or exists (
        select from daily_bar as restated
        where
            restated.instrument_id = bars.instrument_id
            and restated.session_date <= own.last_session
            and restated.known_from > own.derived_at
    )
order by bars.instrument_id;

-- name: rebased
-- Instruments with split-adjusted bars that were fetched before a split's ex-date.
select distinct given.instrument_id
from split as given
left join split_check as held
    on held.instrument_id = given.instrument_id and held.ex_date = given.ex_date
where
    given.ex_date <= %(today)s
    -- A split that did not happen re-bases nothing: its bars would be fetched for ever.
    and (
        held.verdict is null
        or held.verdict not in ('no_jump', 'duplicate')
        or held.confirmed_by is not null
    )
    and exists (
        select from daily_bar as bar
        where
            bar.instrument_id = given.instrument_id
            and bar.session_date < given.ex_date
            and bar.adjustment <> 'as_traded'
            and bar.known_from < given.ex_date::timestamp at time zone 'America/New_York'
    )
order by given.instrument_id;

-- name: quarantined
-- Splits that adjust nothing until a person confirms them or a later answer corrects them.
select
    held.instrument_id,
    held.ex_date,
    held.new_shares,
    held.old_shares,
    held.verdict,
    held.reason
from split_check as held
where held.verdict not in ('confirmed', 'unproven') and held.confirmed_by is null
order by held.ex_date desc, held.instrument_id;

-- name: unproven
-- Past splits that stored prices cannot prove, but as-traded ones may.
select
    held.instrument_id,
    held.ex_date
from split_check as held
where
    held.verdict = 'unproven'
    and held.confirmed_by is null
    and held.ex_date <= %(today)s
order by held.instrument_id, held.ex_date;

-- name: confirm
-- Confirm a split with its present terms. The first confirmation stays: the split counts from then on.
update split_check
set
    confirmed_by = coalesce(confirmed_by, %(by)s),
    confirmed_at = coalesce(confirmed_at, clock_timestamp()),
    confirmed_reason = coalesce(confirmed_reason, %(reason)s)
where instrument_id = %(instrument_id)s and ex_date = %(ex_date)s;

-- name: read_adjusted_bars
-- One instrument's adjusted bars, oldest first.
select
    bar.session_date,
    bar.open,
    bar.high,
    bar.low,
    bar.close,
    bar.volume,
    bar.split_factor,
    bar.dividend_factor
from adjusted_daily_bars as bar
where
    bar.instrument_id = $1
    and bar.adjustment = $2::bar_adjustment
    and bar.session_date between $3 and $4
order by bar.session_date;
