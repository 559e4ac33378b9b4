-- The ledger of daily bars names who was asked, as all others do; a claim ends with its state.

-- A day belongs to whoever served its bar, or the one before it where it has none; of an
-- instrument without bars nobody but FMP, which serves by default, has been asked.
with
bar as (
    select
        daily_bar.instrument_id,
        daily_bar.provider,
        daily_bar.session_date as starts_on,
        lag(daily_bar.provider) over by_session as provider_before
    from daily_bar
    window by_session as (
        partition by daily_bar.instrument_id order by daily_bar.session_date
    )
),

-- One row where another provider begins: an instrument has a few of them at most.
turn as (
    select
        bar.instrument_id,
        bar.provider,
        case when bar.provider_before is not null then bar.starts_on end as starts_on
    from bar
    where bar.provider is distinct from bar.provider_before
),

stretch as (
    select
        turn.instrument_id,
        turn.provider,
        daterange(
            turn.starts_on,
            lead(turn.starts_on) over (
                partition by turn.instrument_id order by turn.starts_on nulls first
            )
        ) as days
    from turn
),

served as (
    select
        stretch.instrument_id,
        stretch.provider,
        range_agg(stretch.days) as days
    from stretch
    group by stretch.instrument_id, stretch.provider
)

insert into coverage (dataset, instrument_id, state, sessions, updated_at)
select
    format('daily_bars by %s', coalesce(served.provider, 'fmp')),
    asked.instrument_id,
    asked.state,
    asked.sessions * coalesce(served.days, '{(,)}'),
    asked.updated_at
from coverage as asked
left join served on served.instrument_id = asked.instrument_id
where
    asked.dataset = 'daily_bars'
    and asked.sessions && coalesce(served.days, '{(,)}');

delete from coverage where dataset = 'daily_bars';

comment on column coverage.dataset is 'Dataset and who was asked, such as "daily_bars by fmp".';

-- A claim lasts as long as the state `retrying`, whichever way a letter leaves that.
create function end_claim() returns trigger
language plpgsql as $$
begin
    new.claim := null;
    new.claimed_by := null;
    new.claimed_at := null;
    new.claimed_from := null;
    new.claim_expires_at := null;
    return new;
end
$$;

create trigger dead_letter_claim_ends
before update on dead_letter
for each row when (old.state = 'retrying' and new.state <> 'retrying')
execute function end_claim();
