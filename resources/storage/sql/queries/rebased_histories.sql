-- name: rebased_histories
-- Instruments with stored bars in other shares than the staged ones that would stay beside them.
with
compared as materialized (
    select
        staged.instrument_id,
        staged.session_date,
        staged.open as new_open,
        staged.high as new_high,
        staged.low as new_low,
        staged.close as new_close,
        staged.volume as new_volume,
        held.open,
        held.high,
        held.low,
        held.close,
        held.volume,
        held.instrument_id is null as is_new,
        (staged.open + staged.high + staged.low + staged.close)
        / (held.open + held.high + held.low + held.close) as ratio
    from staged_rows as staged
    left join daily_bar as held
        on
            held.instrument_id = staged.instrument_id
            and held.session_date = staged.session_date
            and held.session_date between %(first)s and %(last)s
            and held.instrument_id = any(%(instrument_ids)s::bigint[])
    left join ingest_log as origin
        on origin.ingest_id = held.ingest_id
    where
        held.instrument_id is null
        or (
            held.provider = %(provider)s
            and held.adjustment <> 'as_traded'
            and not coalesce(origin.fetched_at > %(fetched_at)s, false)
            and (held.open, held.high, held.low, held.close)
            is distinct from (staged.open, staged.high, staged.low, staged.close)
        )
),

restated as (
    -- All four prices differ by one ratio, within rounding to cents, and not only by rounding.
    select
        compared.instrument_id,
        format(
            'the bar of %%s is restated by a factor of %%s', compared.session_date,
            round(compared.ratio::numeric, 4)
        ) as reason
    from compared
    where
        not compared.is_new
        and abs(compared.ratio - 1) > 0.005
        and abs(compared.ratio - 1) * compared.low > 0.02 * (1 + compared.ratio)
        and greatest(
            abs(compared.new_open - compared.ratio * compared.open),
            abs(compared.new_high - compared.ratio * compared.high),
            abs(compared.new_low - compared.ratio * compared.low),
            abs(compared.new_close - compared.ratio * compared.close)
        ) <= 0.01 * (1 + compared.ratio)
        -- And volumes agree: divided by the ratio, or unchanged.
        and (
            compared.new_volume = compared.volume
            or abs(compared.new_volume * compared.ratio - compared.volume)
            <= compared.ratio + 0.01 * compared.volume
        )
),

neighbour as (
    -- A new bar is compared with the stored ones beside it; only an unusual jump counts.
    select
        compared.instrument_id,
        format(
            'the new bar of %%s is %%s times the stored one beside it', compared.session_date,
            round((case
                when beside.session_date < compared.session_date
                    then compared.new_open / beside.close
                else compared.new_close / beside.open
            end)::numeric, 4)
        ) as reason
    from compared
    cross join lateral (
        (
            select
                bar.session_date,
                bar.open,
                bar.close
            from daily_bar as bar
            where
                bar.instrument_id = compared.instrument_id
                and bar.session_date < compared.session_date
                and bar.session_date >= compared.session_date - 10
                and bar.provider = %(provider)s
                and bar.adjustment <> 'as_traded'
            order by bar.session_date desc
            limit 1
        )
        union all
        (
            select
                bar.session_date,
                bar.open,
                bar.close
            from daily_bar as bar
            where
                bar.instrument_id = compared.instrument_id
                and bar.session_date > compared.session_date
                and bar.session_date <= compared.session_date + 10
                and bar.provider = %(provider)s
                and bar.adjustment <> 'as_traded'
            order by bar.session_date
            limit 1
        )
    ) as beside
    where
        %(joins_history)s
        and compared.is_new
        and not exists (
            select from compared as nearer
            where
                nearer.instrument_id = compared.instrument_id
                and nearer.is_new
                and (
                    (
                        beside.session_date < nearer.session_date
                        and nearer.session_date < compared.session_date
                    )
                    or (
                        compared.session_date < nearer.session_date
                        and nearer.session_date < beside.session_date
                    )
                )
        )
        and abs(ln(case
            when beside.session_date < compared.session_date
                then compared.new_open / beside.close
            else compared.new_close / beside.open
        end)) > 0.2
),

split_since as (
    -- Known splits with an ex-date after the stored bars came; refuted ones do not count.
    select
        given.instrument_id,
        format('it split on %%s, after stored bars came', given.ex_date) as reason
    from split as given
    left join split_check as checked
        on
            checked.instrument_id = given.instrument_id
            and checked.ex_date = given.ex_date
    where
        %(joins_history)s
        and given.instrument_id = any(%(instrument_ids)s::bigint[])
        and given.ex_date <= (%(fetched_at)s::timestamptz at time zone 'America/New_York')::date
        -- Older ones are left to the sensor, which checks all; this runs at every load.
        and given.ex_date > %(fetched_at)s::timestamptz - interval '45 days'
        and (
            checked.verdict is null
            or checked.verdict not in ('no_jump', 'duplicate')
            or checked.confirmed_by is not null
        )
        and exists (
            select from daily_bar as bar
            where
                bar.instrument_id = given.instrument_id
                and bar.session_date < given.ex_date
                and bar.provider = %(provider)s
                and bar.adjustment <> 'as_traded'
                and bar.known_from < given.ex_date::timestamp at time zone 'America/New_York'
        )
),

suspected as materialized (
    select
        suspect.instrument_id,
        min(suspect.reason) as reason
    from (
        select * from restated
        union all
        select * from neighbour
        union all
        select * from split_since
    ) as suspect
    group by suspect.instrument_id
)

select
    suspected.instrument_id,
    suspected.reason
from suspected
where exists (
    -- Stored bars that the batch does not replace would stay in the old shares.
    select from daily_bar as kept
    where
        kept.instrument_id = suspected.instrument_id
        and kept.provider = %(provider)s
        and kept.adjustment <> 'as_traded'
        and not exists (
            select from staged_rows as staged
            where
                staged.instrument_id = kept.instrument_id
                and staged.session_date = kept.session_date
        )
)
order by suspected.instrument_id;
