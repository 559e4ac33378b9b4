-- How many rows of each day were loaded, so that rows which vanish are missed.

create table loaded_day (
    dataset text not null,
    provider text not null,
    instrument_id bigint not null,
    day date not null,
    rows bigint not null,
    -- Serves the loader, and the comparison of a month of a dataset.
    primary key (dataset, provider, instrument_id, day),
    constraint loaded_day_has_rows check (rows > 0)
);
comment on table loaded_day is
'Rows of minutes and trades that were loaded, by day in the dataset''s own zone; written by whoever loads or restores, and by nobody who deletes. Of daily bars the coverage ledger says as much.';

-- Serves the comparison of some days of all instruments.
create index loaded_day_of on loaded_day (dataset, day);

-- What is held now is all that can be known of what was loaded before.
insert into loaded_day (dataset, provider, instrument_id, day, rows)
select
    case instrument.kind when 'pair' then 'crypto_bars' else 'minute_bars' end as dataset,
    bar.provider,
    bar.instrument_id,
    (
        bar.opened_at at time zone
        case instrument.kind when 'pair' then 'UTC' else 'America/New_York' end
    )::date as day,
    count(*) as rows
from minute_bar as bar
inner join instrument on instrument.instrument_id = bar.instrument_id
group by dataset, bar.provider, bar.instrument_id, day;

insert into loaded_day (dataset, provider, instrument_id, day, rows)
select
    'crypto_trades' as dataset,
    trade.provider,
    trade.instrument_id,
    (trade.traded_at at time zone 'UTC')::date as day,
    count(*) as rows
from trade
group by trade.provider, trade.instrument_id, day;
