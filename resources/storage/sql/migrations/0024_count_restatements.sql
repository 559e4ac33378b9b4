-- How old bars are when their provider corrects them: what the days on which they are asked again rest on.

-- Serves "what was restated lately", as daily_bar_version_latest does.
create index minute_bar_version_latest on minute_bar_version (known_to desc);

create view restatement as
select
    'daily_bars' as dataset,
    old.instrument_id,
    old.replaced_by_ingest_id,
    old.known_to as restated_at,
    -- Sessions that no refresh of aggregates has written down yet end at the usual time.
    coalesce(
        session.closes_at, (old.session_date + time '16:00') at time zone 'America/New_York'
    ) as ended_at
from daily_bar_version as old
left join trading_session as session
    on session.exchange = 'XNYS' and session.session_date = old.session_date
union all
select
    case instrument.kind when 'pair' then 'crypto_bars' else 'minute_bars' end as dataset,
    old.instrument_id,
    old.replaced_by_ingest_id,
    old.known_to as restated_at,
    old.opened_at + interval '1 minute' as ended_at
from minute_bar_version as old
inner join instrument on instrument.instrument_id = old.instrument_id;
comment on view restatement is
'One row for each value of a bar that an answer replaced: when, by which answer, and when the bar had ended.';
