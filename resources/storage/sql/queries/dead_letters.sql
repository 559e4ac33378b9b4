-- name: act_as
-- Set the author of letter changes, for this transaction only.
select set_config('wrdata.actor', %(by)s, true);

-- name: post
-- Post new letters and repeats of unsettled ones: that ends a claim and may use up an attempt.
with given as (
    select *
    from jsonb_to_recordset(%(letters)s::jsonb) as given (
        fingerprint text,
        dataset text,
        provider text,
        work letter_work,
        subject text,
        instrument_id bigint,
        error_class text,
        message text,
        request text,
        run_id text,
        correlation_id text,
        raw_answers text[],
        details jsonb,
        deferred boolean,
        parked boolean,
        occurrences integer,
        seen_at timestamptz,
        -- A duration, not a moment: the clock of the failed worker may be wrong.
        not_before_s double precision
    )
)

insert into dead_letter (
    fingerprint, dataset, provider, work, subject, instrument_id, sessions, state, reason,
    error_class, message, request, run_id, correlation_id, raw_answers, details, deferred, occurrences,
    first_seen_at, last_seen_at, next_attempt_at
)
select
    given.fingerprint,
    given.dataset,
    given.provider,
    given.work,
    given.subject,
    given.instrument_id,
    case when given.details ->> 'start' is not null then daterange(
        (given.details ->> 'start')::date, (given.details ->> 'end')::date, '[]'
    ) end as sessions,
    case when given.parked then 'parked' else 'open' end::letter_state as state,
    given.message as reason,
    given.error_class,
    given.message,
    given.request,
    given.run_id,
    given.correlation_id,
    given.raw_answers,
    given.details,
    given.deferred,
    given.occurrences,
    given.seen_at as first_seen_at,
    given.seen_at as last_seen_at,
    case when not given.parked then clock_timestamp() + make_interval(secs => greatest(
        given.not_before_s,
        (%(waits_s)s::double precision[])[1] * (1 - %(jitter)s * random())
    )) end as next_attempt_at
from given
-- A fixed order keeps two posts from deadlocking.
order by given.fingerprint
on conflict (fingerprint) where state in ('open', 'retrying', 'parked') do update
    set
        subject = excluded.subject,
        sessions = coalesce(
            range_merge(dead_letter.sessions, excluded.sessions), excluded.sessions
        ),
        occurrences = dead_letter.occurrences + excluded.occurrences,
        last_seen_at = greatest(dead_letter.last_seen_at, excluded.last_seen_at),
        -- A transient error does not hide an error on which a person has to act.
        (error_class, message, request, run_id, raw_answers, details, deferred) = (
            select
                dead_letter.error_class,
                dead_letter.message,
                dead_letter.request,
                dead_letter.run_id,
                dead_letter.raw_answers,
                dead_letter.details,
                dead_letter.deferred
            where dead_letter.state = 'parked' and excluded.state <> 'parked'
            union all
            select
                excluded.error_class,
                excluded.message,
                excluded.request,
                excluded.run_id,
                -- Of this request, even if empty: a replay must not read another request's answer.
                excluded.raw_answers,
                excluded.details,
                excluded.deferred
            where dead_letter.state <> 'parked' or excluded.state = 'parked'
        ),
        (state, reason, attempts, next_attempt_at) = (
            select
                case when step.parks then 'parked' else 'open' end::letter_state,
                case
                    when dead_letter.state = 'parked' and excluded.state <> 'parked'
                        then dead_letter.reason
                    when step.used_up
                        then format('%%s attempts used up: %%s', dead_letter.attempts, excluded.message)
                    else excluded.message
                end,
                step.attempts,
                case when not step.parks then greatest(
                    excluded.next_attempt_at,
                    dead_letter.next_attempt_at,
                    clock_timestamp() + make_interval(secs => (
                        (%(waits_s)s::double precision[])[least(step.attempts, %(attempts)s - 1) + 1]
                        * (1 - %(jitter)s * random())
                    ))
                ) end
            from (
                select
                    tried.attempts,
                    tried.used_up,
                    tried.used_up or dead_letter.state = 'parked' or excluded.state = 'parked' as parks
                from (
                    select
                        dead_letter.attempts
                        - (dead_letter.state = 'retrying' and excluded.deferred)::integer as attempts,
                        dead_letter.state = 'retrying' and not excluded.deferred
                        and dead_letter.attempts >= %(attempts)s as used_up
                ) as tried
            ) as step
        );

-- name: resolve_answered
-- Resolve unsettled letters whose work is covered by the answer. Everything is checked
-- again under the lock: the work of a letter may have grown meanwhile.
with held as (
    select letter_id
    from dead_letter
    where
        dataset = %(dataset)s
        and provider = %(provider)s
        and state in ('open', 'retrying', 'parked')
        and (
            (instrument_id = any(%(instrument_ids)s::bigint[]) and work in ('instrument', 'record'))
            or (%(whole_sessions)s and instrument_id is null and work = 'session')
        )
        and sessions <@ daterange(%(start)s, %(end)s, '[]')
        and (
            last_seen_at <= coalesce(%(not_later_than)s::timestamptz, 'infinity')
            or raw_answers && %(raw_answers)s::text[]
        )
        and fingerprint <> all(%(except)s::text[])
    order by fingerprint
    for update
)

update dead_letter
set
    state = 'resolved',
    reason = %(reason)s,
    next_attempt_at = null
from held
where dead_letter.letter_id = held.letter_id;

-- name: claim_due
-- Claim due letters, the longest waiting first; those locked by another claimer are skipped.
-- Histories of one dataset and provider share a claim, all other work has one of its own.
with
due as (
    select
        letter_id,
        work,
        dataset,
        provider
    from dead_letter
    where state = 'open' and next_attempt_at <= clock_timestamp() and work <> 'record'
    order by next_attempt_at
    limit %(limit)s
    for update skip locked
),

batched as (
    select
        letter_id,
        case
            when work = 'instrument' then format(
                '%%s %%s %%s',
                dataset,
                provider,
                (row_number() over (partition by work, dataset, provider order by letter_id) - 1)
                / %(batch)s
            )
            else letter_id::text
        end as batch
    from due
),

claims as materialized (
    select
        batch,
        gen_random_uuid() as claim
    from batched
    group by batch
)

update dead_letter
set
    state = 'retrying',
    reason = 'due',
    attempts = dead_letter.attempts + 1,
    next_attempt_at = null,
    claim = claims.claim,
    claimed_by = %(by)s,
    claimed_at = clock_timestamp(),
    claimed_from = dead_letter.state,
    claim_expires_at = clock_timestamp() + make_interval(secs => %(hold_s)s)
from batched
inner join claims on claims.batch = batched.batch
where dead_letter.letter_id = batched.letter_id
returning dead_letter.*;

-- name: claim
-- Claim letters for a person, due or not; claimed and settled ones are left alone.
with
wanted as (
    select
        letter_id,
        work,
        dataset,
        provider
    from dead_letter
    where letter_id = any(%(letter_ids)s::bigint[]) and state in ('open', 'parked')
    order by fingerprint
    for update
),

batched as (
    select
        letter_id,
        case
            when work in ('instrument', 'record') then format(
                '%%s %%s %%s',
                dataset,
                provider,
                (
                    row_number() over (
                        partition by work in ('instrument', 'record'), dataset, provider
                        order by letter_id
                    ) - 1
                ) / %(batch)s
            )
            else letter_id::text
        end as batch
    from wanted
),

claims as materialized (
    select
        batch,
        gen_random_uuid() as claim
    from batched
    group by batch
)

update dead_letter
set
    state = 'retrying',
    reason = %(reason)s,
    attempts = dead_letter.attempts + 1,
    next_attempt_at = null,
    claim = claims.claim,
    claimed_by = %(by)s,
    claimed_at = clock_timestamp(),
    claimed_from = dead_letter.state,
    claim_expires_at = clock_timestamp() + make_interval(secs => %(hold_s)s)
from batched
inner join claims on claims.batch = batched.batch
where dead_letter.letter_id = batched.letter_id
returning dead_letter.*;

-- name: claims
-- All claims, with the number of their letters.
select
    claim,
    min(claimed_by) as claimed_by,
    min(claimed_at) as claimed_at,
    bool_or(claim_expires_at <= clock_timestamp()) as expired,
    count(*)::integer as letters
from dead_letter
where state = 'retrying'
group by claim
order by claimed_at;

-- name: extend
-- Extend claims whose runs wait or work.
update dead_letter
set claim_expires_at = greatest(
    claim_expires_at, clock_timestamp() + make_interval(secs => %(hold_s)s)
)
where state = 'retrying' and claim = any(%(claims)s::uuid[]);

-- name: resolve_claim
-- Resolve the letters of a claim with these kinds of work.
with held as (
    select letter_id
    from dead_letter
    where
        state = 'retrying'
        and claim = %(claim)s
        and work = any(%(works)s::letter_work[])
    order by fingerprint
    for update
)

update dead_letter
set
    state = 'resolved',
    reason = %(reason)s
from held
where dead_letter.letter_id = held.letter_id;

-- name: fail_claim
-- Fail the remaining letters of a claim: an attempt is used up. Letters that a
-- person claimed while parked are parked again.
with held as (
    select
        letter_id,
        attempts >= %(attempts)s as used_up,
        attempts >= %(attempts)s or claimed_from = 'parked' as parks
    from dead_letter
    where state = 'retrying' and claim = %(claim)s
    order by fingerprint
    for update
)

update dead_letter
set
    state = case when held.parks then 'parked' else 'open' end::letter_state,
    reason = case
        when held.used_up
            then format('%%s attempts used up: %%s', dead_letter.attempts, %(reason)s::text)
        else %(reason)s::text
    end,
    next_attempt_at = case when not held.parks then
        clock_timestamp() + make_interval(secs => (
            (%(waits_s)s::double precision[])[least(dead_letter.attempts, %(attempts)s - 1) + 1]
            * (1 - %(jitter)s * random())
        ))
    end
from held
where dead_letter.letter_id = held.letter_id;

-- name: give_back_claim
-- End a claim without a run: its letters are as before, and no attempt is used up.
with held as (
    select letter_id
    from dead_letter
    where state = 'retrying' and claim = %(claim)s
    order by fingerprint
    for update
)

update dead_letter
set
    state = dead_letter.claimed_from,
    reason = %(reason)s,
    attempts = dead_letter.attempts - 1,
    next_attempt_at = case when dead_letter.claimed_from = 'open' then clock_timestamp() end
from held
where dead_letter.letter_id = held.letter_id;

-- name: discard
-- Discard letters that are not claimed.
with held as (
    select letter_id
    from dead_letter
    where letter_id = any(%(letter_ids)s::bigint[]) and state in ('open', 'parked')
    order by fingerprint
    for update
)

update dead_letter
set
    state = 'discarded',
    reason = %(reason)s,
    next_attempt_at = null
from held
where dead_letter.letter_id = held.letter_id
returning dead_letter.letter_id;

-- name: end_obsolete
-- Mark a letter obsolete, even if it is claimed.
update dead_letter
set
    state = 'obsolete',
    reason = %(reason)s,
    next_attempt_at = null
where letter_id = %(letter_id)s and state in ('open', 'retrying', 'parked');

-- name: by_id
-- Some letters.
select dead_letter.*
from dead_letter
where letter_id = any(%(letter_ids)s::bigint[])
order by letter_id;

-- name: find
-- Letters that match every filter that is not null, newest first.
select dead_letter.*
from dead_letter
where
    (%(states)s::letter_state[] is null or state = any(%(states)s::letter_state[]))
    and (%(dataset)s::text is null or dataset = %(dataset)s::text)
    and (%(error_class)s::text is null or error_class = %(error_class)s::text)
    and (
        %(ticker)s::text is null
        or split_part(subject, ' ', 1) = %(ticker)s::text
        or instrument_id in (
            select named.instrument_id
            from instrument_ticker as named
            where named.ticker = %(ticker)s::text and upper_inf(named.valid)
        )
    )
order by last_seen_at desc, letter_id desc
limit %(limit)s;

-- name: transitions
-- Every transition of one letter, in order.
select
    from_state::text as from_state,
    to_state::text as to_state,
    at,
    by,
    reason,
    attempts
from dead_letter_transition
where letter_id = %(letter_id)s
order by transition_id;

-- name: parked_since
-- Letters that are parked, with the steps by which they came to be so after a moment.
select
    step.transition_id,
    step.at,
    letter.dataset,
    letter.subject,
    letter.error_class
from dead_letter as letter
inner join dead_letter_transition as step using (letter_id)
where
    letter.state = 'parked'
    and step.to_state = 'parked'
    and step.at > %(since)s
order by step.transition_id;

-- name: counts
-- Number of letters by dataset and state.
select
    dataset,
    state::text,
    count(*)
from dead_letter
where
    (%(dataset)s::text is null or dataset = %(dataset)s::text)
    and (%(provider)s::text is null or provider = %(provider)s::text)
group by dataset, state;

-- name: spans
-- The days that unsettled letters wait for, by instrument.
select
    instrument_id,
    min(lower(sessions)) as starts_on,
    max(upper(sessions)) - 1 as ends_on
from dead_letter
where
    letter_id = any(%(letter_ids)s::bigint[])
    and state in ('open', 'retrying', 'parked')
    and instrument_id is not null
    and sessions is not null
group by instrument_id
order by instrument_id;
