-- Dead letters: work that came to nothing, and every step of what became of it.

create type letter_state as enum (
    'open',      -- waits for its next attempt, which a machine makes
    'retrying',  -- claimed: a run does the work, or is about to
    'parked',    -- waits for a person
    'resolved',  -- the work has been done
    'discarded', -- a person gave the work up
    'obsolete'   -- the work no longer exists: whoever was to do it says why
);

create type letter_work as enum (
    'instrument', -- the history of one instrument
    'session',    -- one trading day of the whole market
    'record',     -- one bad row: no machine tries it again
    'run'         -- a run that died
);

create table dead_letter (
    letter_id bigint generated always as identity primary key,
    fingerprint text not null,
    dataset text not null,
    provider text,
    work letter_work not null,
    subject text not null,
    instrument_id bigint references instrument,
    sessions daterange,
    state letter_state not null,
    reason text not null,
    error_class text not null,
    message text not null,
    request text not null,
    run_id text not null,
    raw_answers text[] not null default '{}',
    details jsonb not null default '{}',
    deferred boolean not null default false,
    attempts integer not null default 0,
    occurrences integer not null default 1,
    first_seen_at timestamptz not null,
    last_seen_at timestamptz not null,
    next_attempt_at timestamptz,
    claim uuid,
    claimed_by text,
    claimed_at timestamptz,
    claimed_from letter_state,
    claim_expires_at timestamptz,
    constraint dead_letter_fingerprint_is_sha256 check (fingerprint ~ '^[0-9a-f]{64}$'),
    constraint dead_letter_counts_are_counts check (attempts >= 0 and occurrences >= 1),
    constraint dead_letter_open_is_due_some_time
    check ((state = 'open') = (next_attempt_at is not null)),
    constraint dead_letter_retrying_is_claimed
    check (
        num_nonnulls(claim, claimed_by, claimed_at, claimed_from, claim_expires_at)
        = case when state = 'retrying' then 5 else 0 end
    )
);
comment on table dead_letter is 'Work that came to nothing; a letter is never deleted.';
comment on column dead_letter.provider is 'Null for a run, which may have asked several.';
comment on column dead_letter.subject is
'Ticker, ISO date, ticker and date, or job and what it was to do: as it was last seen.';
comment on column dead_letter.sessions is
'The days that were asked for, of all occurrences together; an answer that holds them resolves it.';
comment on column dead_letter.reason is 'Why the letter is in its state.';
comment on column dead_letter.deferred is
'The request was never sent the last time (circuit breaker, quota), which uses up no attempt.';
comment on column dead_letter.attempts is 'Tries by the dead-letter path; a deferral is none.';
comment on column dead_letter.occurrences is 'How often the work came to nothing, by any path.';
comment on column dead_letter.claim is 'Names the run that does the work: its tag and its run key.';
comment on column dead_letter.claimed_from is 'Where the letter goes back to if no run came of it.';

-- Serves posting: one unsettled letter per fingerprint, whose repeats are counted.
create unique index dead_letter_unsettled_fingerprint on dead_letter (fingerprint)
where state in ('open', 'retrying', 'parked');

-- Serves the sensor's claim: what is due, the longest waiting first.
create index dead_letter_due on dead_letter (next_attempt_at) where state = 'open';

-- Serves the sensor's look at claims, and their end.
create index dead_letter_claimed on dead_letter (claim) where state = 'retrying';

-- Serves settling, in every load: the unsettled letters of some instruments, or of sessions.
create index dead_letter_unsettled_instrument on dead_letter (dataset, instrument_id)
where state in ('open', 'retrying', 'parked');

-- Serves the list, newest first.
create index dead_letter_latest on dead_letter (last_seen_at desc, letter_id desc);

create table dead_letter_legal_transition (
    from_state letter_state,
    to_state letter_state not null,
    constraint dead_letter_legal_transition_once unique nulls not distinct (from_state, to_state)
);
comment on table dead_letter_legal_transition is
'What a letter may become; from null is its creation. Resolved, discarded and obsolete are final.';

insert into dead_letter_legal_transition (from_state, to_state) values
(null, 'open'),
(null, 'parked'),
('open', 'retrying'),
('open', 'resolved'),
('open', 'parked'),
('open', 'discarded'),
('retrying', 'open'),
('retrying', 'resolved'),
('retrying', 'parked'),
('parked', 'open'),
('parked', 'retrying'),
('parked', 'resolved'),
('parked', 'discarded'),
('open', 'obsolete'),
('retrying', 'obsolete'),
('parked', 'obsolete');

create table dead_letter_transition (
    transition_id bigint generated always as identity primary key,
    letter_id bigint not null references dead_letter,
    from_state letter_state,
    to_state letter_state not null,
    at timestamptz not null default clock_timestamp(),
    by text not null,
    reason text not null,
    attempts integer not null
);
comment on table dead_letter_transition is 'Every step of every letter; rows are only added.';
comment on column dead_letter_transition.by is
'Who: set by set_config(''wrdata.actor'', …, true) in the transaction that changes the letter.';

-- Serves the history of one letter.
create index dead_letter_transition_letter on dead_letter_transition (letter_id, transition_id);

create function check_and_record_letter() returns trigger
language plpgsql as $$
declare
    actor text := nullif(current_setting('wrdata.actor', true), '');
    before letter_state;
begin
    if tg_op = 'UPDATE' then
        before := old.state;
    end if;
    if actor is null then
        raise exception 'dead letter % cannot become % without an actor', new.letter_id, new.state
        using errcode = 'check_violation', hint = 'set_config(''wrdata.actor'', …, true) first';
    end if;
    if not exists (
        select from dead_letter_legal_transition as legal
        where legal.from_state is not distinct from before and legal.to_state = new.state
    ) then
        raise exception 'dead letter % is % and cannot become %',
            new.letter_id, coalesce(before::text, 'new'), new.state
        using errcode = 'check_violation';
    end if;
    insert into dead_letter_transition (letter_id, from_state, to_state, by, reason, attempts)
    values (new.letter_id, before, new.state, actor, new.reason, new.attempts);
    return null;
end
$$;

create trigger dead_letter_is_created
after insert on dead_letter
for each row execute function check_and_record_letter();

-- A claim that is replaced while it lasts counts as a transition too, and as an illegal one.
create trigger dead_letter_changes_state
after update on dead_letter
for each row when (
    old.state is distinct from new.state
    or (old.claim is not null and new.claim is distinct from old.claim)
)
execute function check_and_record_letter();

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

create function refuse_to_forget_letters() returns trigger
language plpgsql as $$
begin
    raise exception '% of % is refused: the history of dead letters is kept', tg_op, tg_table_name
    using errcode = 'check_violation';
end
$$;

create trigger dead_letter_is_kept
before delete or truncate on dead_letter
for each statement execute function refuse_to_forget_letters();

create trigger dead_letter_transition_is_kept
before update or delete or truncate on dead_letter_transition
for each statement execute function refuse_to_forget_letters();
