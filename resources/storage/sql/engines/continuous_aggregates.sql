-- Objects beside the continuous aggregates in their schema. They do not exist while roll-ups keep
-- the bars, so this is no migration (resources/storage/aggregates/engines.py runs it).

create schema continuous;
comment on schema continuous is
'Continuous aggregates that keep the bars of this database; roll-ups keep them where it is missing.';

-- A refresh does not notice changed sessions: their days are recorded for it.
create table continuous.changed_session (
    session_date date primary key
);

create function continuous.remember_sessions() returns trigger
language plpgsql as $$
begin
    insert into continuous.changed_session
    select distinct changed.session_date from changed
    on conflict do nothing;
    return null;
end
$$;

create trigger remember_added after insert on trading_session
referencing new table as changed
for each statement execute function continuous.remember_sessions();
create trigger remember_changed after update on trading_session
referencing new table as changed
for each statement execute function continuous.remember_sessions();
create trigger remember_removed after delete on trading_session
referencing old table as changed
for each statement execute function continuous.remember_sessions();

-- The server refreshes the last 4 days by policy (queries/continuous_aggregates.sql, keep_up), and
-- knows no tombstones: none of these days may be in the archive only.
create function continuous.refuse_hot_days() returns trigger
language plpgsql as $$
begin
    if new.dataset in ('minute_bars', 'crypto_bars') and upper(new.span) > current_date - 4 then
        raise exception 'the continuous aggregates of % are still refreshed by the server', new.span
        using hint = 'keep minute bars a week longer than this';
    end if;
    return new;
end
$$;

create trigger refuse_hot_days before insert on archive_tombstone
for each row execute function continuous.refuse_hot_days();

-- A process with the other engine must not settle invalidations: this engine would miss them.
create function continuous.refuse_roll_ups() returns trigger
language plpgsql as $$
begin
    raise exception 'continuous aggregates keep the bars of this database now'
    using hint = 'start the process again: it will find the engine in force';
end
$$;

create trigger refuse_roll_ups before insert on rollup_5m
for each statement execute function continuous.refuse_roll_ups();
create trigger refuse_roll_ups before insert on rollup_1w
for each statement execute function continuous.refuse_roll_ups();
