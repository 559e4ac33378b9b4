-- The schema that the migrations beside this file make. Written by `make schema`: to be read, not
-- to be changed and not to be run. How a piece came to be, and why, stands in the migrations.


-- Types

create type backup_kind as enum ('full', 'differential', 'incremental', 'portable');
create type bar_adjustment as enum ('as_traded', 'splits', 'splits_and_dividends');
create type breaker_state as enum ('closed', 'open', 'half_open');
create type coverage_state as enum ('complete', 'provisional', 'archived', 'quarantined', 'not_listed', 'provider_empty', 'failed');
create type ingest_outcome as enum ('loaded', 'failed');
create type letter_state as enum ('open', 'retrying', 'parked', 'resolved', 'discarded', 'obsolete');
create type letter_work as enum ('instrument', 'session', 'record', 'run');
create type request_lane as enum ('scheduled', 'backfill');


-- Tables

-- What proves that the archive holds a period of a dataset, with the history of those proofs.
create table archive_log (
    archive_id bigint not null generated always as identity,
    dataset text not null,
    period text not null /* A month, a year, or all. */,
    span daterange not null /* Days (of UTC) whose rows the files hold. */,
    files jsonb not null /* The period's Parquet files in the order of their rows: object_key, rows, bytes, file_sha256. */,
    bounds jsonb not null /* Least and greatest value by column, as text. */,
    rows bigint not null,
    bytes bigint not null,
    content_digest text not null /* Digest of all rows of the period in their order (marketdata/content_hash.py), however they are cut into files. */,
    column_sha256 jsonb not null,
    schema_fingerprint text not null,
    snapshot_id bigint not null,
    code_version text not null,
    archived_at timestamp with time zone not null default now(),
    superseded_at timestamp with time zone /* When a later proof of the same days took its place; null on the proof that is valid now. */,
    correlation_id text /* Of the work that wrote the files; the snapshot carries it too. */,
    constraint archive_log_pkey PRIMARY KEY (archive_id),
    constraint archive_log_valid EXCLUDE USING gist (dataset WITH =, span WITH &&) WHERE (superseded_at IS NULL)
);

-- Days of a dataset whose rows were dropped from the database after the proof archive_id; until restored_at they are in the archive only, and no aggregate of them is computed again.
create table archive_tombstone (
    tombstone_id bigint not null generated always as identity,
    dataset text not null,
    span daterange not null,
    archive_id bigint not null,
    rows bigint not null,
    dropped_at timestamp with time zone not null default now(),
    dropped_by text not null,
    restored_at timestamp with time zone,
    restored_by text,
    constraint archive_tombstone_archive_id_fkey FOREIGN KEY (archive_id) REFERENCES archive_log(archive_id),
    constraint archive_tombstone_is_some_time CHECK (NOT isempty(span)),
    constraint archive_tombstone_pkey PRIMARY KEY (tombstone_id),
    constraint archive_tombstone_restored_by_somebody CHECK (num_nulls(restored_at, restored_by) = ANY (ARRAY[0, 2])),
    constraint archive_tombstone_stands_once EXCLUDE USING gist (dataset WITH =, span WITH &&) WHERE (restored_at IS NULL)
);

-- Which rows were anchored in the locked bucket. Verification reads the bucket, not this table.
create table audit_anchor (
    anchor_id bigint not null generated always as identity,
    anchored_at timestamp with time zone not null,
    audit_id bigint not null,
    hash bytea not null,
    object_key text not null,
    constraint audit_anchor_pkey PRIMARY KEY (anchor_id)
);
CREATE TRIGGER audit_anchor_is_kept BEFORE DELETE OR UPDATE OR TRUNCATE ON audit_anchor FOR EACH STATEMENT EXECUTE FUNCTION refuse_to_alter_audit();

-- The end of the chain. Without it a log whose last rows were cut off would look whole.
create table audit_head (
    only_row boolean not null default true,
    last_id bigint not null,
    last_hash bytea not null,
    constraint audit_head_is_one_row CHECK (only_row),
    constraint audit_head_pkey PRIMARY KEY (only_row)
);
CREATE TRIGGER audit_head_is_kept BEFORE INSERT OR DELETE OR TRUNCATE ON audit_head FOR EACH STATEMENT EXECUTE FUNCTION refuse_to_alter_audit();
CREATE TRIGGER audit_head_moves_with_the_log BEFORE UPDATE ON audit_head FOR EACH STATEMENT WHEN (pg_trigger_depth() < 1) EXECUTE FUNCTION refuse_to_alter_audit();

-- Append-only; nothing prunes it. Ids have no gaps. A trigger gives id, time, text and hashes.
create table audit_log (
    id bigint not null,
    at timestamp with time zone not null /* When the row was chained: clock_timestamp(). */,
    who text not null /* A person as user@host, a run, a schedule or a sensor. */,
    origin text not null /* From where: host and process, or the address of a client. */,
    action text not null /* One of the actions of marketdata/audit.py. */,
    subject text not null /* What it was done to: a run id, a period, a setting. */,
    details jsonb not null default '{}'::jsonb /* What else is worth knowing; never a secret. */,
    canonical text not null /* The text that was hashed: all other columns but hash, as JSON. Kept, so that no verifier has to
imitate how PostgreSQL writes JSON. */,
    previous_hash bytea not null /* Hash of the row before; zeros for the first row. */,
    hash bytea not null /* SHA-256 of canonical in UTF-8. */,
    constraint audit_log_hashes_are_sha256 CHECK (octet_length(previous_hash) = 32 AND octet_length(hash) = 32),
    constraint audit_log_names_who_and_where CHECK (who <> ''::text AND origin <> ''::text),
    constraint audit_log_pkey PRIMARY KEY (id)
);
CREATE INDEX audit_log_action ON public.audit_log USING btree (action, id DESC);
CREATE UNIQUE INDEX audit_log_run_event ON public.audit_log USING btree (action, subject) WHERE (action = ANY (ARRAY['run_launched'::text, 'run_cancelled'::text, 'backfill_launched'::text]));
CREATE TRIGGER audit_log_is_chained BEFORE INSERT ON audit_log FOR EACH ROW EXECUTE FUNCTION chain_audit_row();
CREATE TRIGGER audit_log_is_kept BEFORE DELETE OR UPDATE OR TRUNCATE ON audit_log FOR EACH STATEMENT EXECUTE FUNCTION refuse_to_alter_audit();

-- Results of verifications; metrics and alerts read the last.
create table audit_verification (
    verification_id bigint not null generated always as identity,
    verified_at timestamp with time zone not null default clock_timestamp(),
    valid boolean not null,
    through_id bigint not null /* The last row that was read. */,
    finding text not null /* What is wrong, or what was compared. */,
    constraint audit_verification_pkey PRIMARY KEY (verification_id)
);
CREATE TRIGGER audit_verification_is_kept BEFORE DELETE OR UPDATE OR TRUNCATE ON audit_verification FOR EACH STATEMENT EXECUTE FUNCTION refuse_to_alter_audit();

-- Each backup that a command took or tried to. The repository itself says which still exist.
create table backup_run (
    backup_run_id bigint not null generated always as identity,
    kind backup_kind not null /* As taken: the first backup of a repository is full, whatever was asked for. */,
    label text /* pgBackRest's label, or the folder of a portable backup in the bucket; null if it failed. */,
    started_at timestamp with time zone not null,
    finished_at timestamp with time zone not null,
    bytes bigint /* Size of the databases. */,
    stored_bytes bigint /* What this backup added to the repository. */,
    first_wal text /* First WAL segment that a restore of it needs. */,
    last_wal text,
    postgres_version text,
    timescaledb_version text /* A restore needs the extension of exactly this version. */,
    error text,
    constraint backup_run_ends_after_its_start CHECK (finished_at >= started_at),
    constraint backup_run_has_a_label_or_an_error CHECK ((label IS NULL) = (error IS NOT NULL)),
    constraint backup_run_pkey PRIMARY KEY (backup_run_id)
);
CREATE INDEX backup_run_latest ON public.backup_run USING btree (kind, finished_at DESC);

-- Balance of a company at the end of a fiscal year or quarter, in reported_currency.
-- hypertable by fiscal_date, chunks of 3600 days
create table balance_sheet (
    instrument_id bigint not null,
    period_type text not null,
    fiscal_date date not null,
    fiscal_period text not null,
    fiscal_year integer not null,
    reported_currency text not null,
    filing_date date,
    accepted_at timestamp with time zone,
    cash_and_cash_equivalents numeric,
    short_term_investments numeric,
    net_receivables numeric,
    inventory numeric,
    total_current_assets numeric,
    property_plant_and_equipment numeric,
    goodwill numeric,
    intangible_assets numeric,
    long_term_investments numeric,
    total_assets numeric,
    accounts_payable numeric,
    short_term_debt numeric,
    deferred_revenue numeric,
    total_current_liabilities numeric,
    long_term_debt numeric,
    total_liabilities numeric,
    common_stock numeric,
    retained_earnings numeric,
    accumulated_other_comprehensive_income numeric,
    total_stockholders_equity numeric,
    minority_interest numeric,
    total_equity numeric,
    total_debt numeric,
    net_debt numeric,
    answer jsonb not null,
    provider text not null,
    ingest_id bigint not null,
    known_from timestamp with time zone not null,
    constraint balance_sheet_is_filed_afterwards CHECK (filing_date >= fiscal_date),
    constraint balance_sheet_period_is_known CHECK (period_type = 'annual'::text AND fiscal_period = 'FY'::text OR period_type = 'half_yearly'::text AND (fiscal_period = ANY (ARRAY['H1'::text, 'H2'::text])) OR period_type = 'quarterly'::text AND (fiscal_period = ANY (ARRAY['Q1'::text, 'Q2'::text, 'Q3'::text, 'Q4'::text]))),
    constraint balance_sheet_pkey PRIMARY KEY (instrument_id, period_type, fiscal_date, fiscal_period)
);
CREATE INDEX balance_sheet_answer ON public.balance_sheet USING gin (answer jsonb_path_ops);
CREATE INDEX balance_sheet_fiscal_date_idx ON public.balance_sheet USING btree (fiscal_date DESC);
CREATE INDEX balance_sheet_latest ON public.balance_sheet USING btree (instrument_id, period_type, fiscal_date DESC);

-- Values that were in balance_sheet from known_from (included) to known_to (excluded).
create table balance_sheet_version (
    instrument_id bigint not null,
    period_type text not null,
    fiscal_date date not null,
    fiscal_period text not null,
    fiscal_year integer not null,
    reported_currency text not null,
    filing_date date,
    accepted_at timestamp with time zone,
    cash_and_cash_equivalents numeric,
    short_term_investments numeric,
    net_receivables numeric,
    inventory numeric,
    total_current_assets numeric,
    property_plant_and_equipment numeric,
    goodwill numeric,
    intangible_assets numeric,
    long_term_investments numeric,
    total_assets numeric,
    accounts_payable numeric,
    short_term_debt numeric,
    deferred_revenue numeric,
    total_current_liabilities numeric,
    long_term_debt numeric,
    total_liabilities numeric,
    common_stock numeric,
    retained_earnings numeric,
    accumulated_other_comprehensive_income numeric,
    total_stockholders_equity numeric,
    minority_interest numeric,
    total_equity numeric,
    total_debt numeric,
    net_debt numeric,
    answer jsonb not null,
    provider text not null,
    ingest_id bigint not null,
    known_from timestamp with time zone not null,
    known_to timestamp with time zone not null,
    replaced_by_ingest_id bigint not null,
    constraint balance_sheet_version_lasted CHECK (known_from < known_to),
    constraint balance_sheet_version_pkey PRIMARY KEY (instrument_id, period_type, fiscal_date, fiscal_period, known_from)
);

-- Cash flow of a company in a fiscal year or quarter, in reported_currency; outflows are negative.
-- hypertable by fiscal_date, chunks of 3600 days
create table cash_flow_statement (
    instrument_id bigint not null,
    period_type text not null,
    fiscal_date date not null,
    fiscal_period text not null,
    fiscal_year integer not null,
    reported_currency text not null,
    filing_date date,
    accepted_at timestamp with time zone,
    net_income numeric,
    depreciation_and_amortization numeric,
    stock_based_compensation numeric,
    change_in_working_capital numeric,
    operating_cash_flow numeric,
    capital_expenditure numeric,
    acquisitions numeric,
    investing_cash_flow numeric,
    net_debt_issuance numeric,
    common_stock_issuance numeric,
    common_stock_repurchased numeric,
    dividends_paid numeric,
    financing_cash_flow numeric,
    effect_of_exchange_rates numeric,
    net_change_in_cash numeric,
    cash_at_beginning_of_period numeric,
    cash_at_end_of_period numeric,
    free_cash_flow numeric,
    income_taxes_paid numeric,
    interest_paid numeric,
    answer jsonb not null,
    provider text not null,
    ingest_id bigint not null,
    known_from timestamp with time zone not null,
    constraint cash_flow_statement_is_filed_afterwards CHECK (filing_date >= fiscal_date),
    constraint cash_flow_statement_period_is_known CHECK (period_type = 'annual'::text AND fiscal_period = 'FY'::text OR period_type = 'half_yearly'::text AND (fiscal_period = ANY (ARRAY['H1'::text, 'H2'::text])) OR period_type = 'quarterly'::text AND (fiscal_period = ANY (ARRAY['Q1'::text, 'Q2'::text, 'Q3'::text, 'Q4'::text]))),
    constraint cash_flow_statement_pkey PRIMARY KEY (instrument_id, period_type, fiscal_date, fiscal_period)
);
CREATE INDEX cash_flow_statement_answer ON public.cash_flow_statement USING gin (answer jsonb_path_ops);
CREATE INDEX cash_flow_statement_fiscal_date_idx ON public.cash_flow_statement USING btree (fiscal_date DESC);
CREATE INDEX cash_flow_statement_latest ON public.cash_flow_statement USING btree (instrument_id, period_type, fiscal_date DESC);

-- Values that were in cash_flow_statement from known_from (included) to known_to (excluded).
create table cash_flow_statement_version (
    instrument_id bigint not null,
    period_type text not null,
    fiscal_date date not null,
    fiscal_period text not null,
    fiscal_year integer not null,
    reported_currency text not null,
    filing_date date,
    accepted_at timestamp with time zone,
    net_income numeric,
    depreciation_and_amortization numeric,
    stock_based_compensation numeric,
    change_in_working_capital numeric,
    operating_cash_flow numeric,
    capital_expenditure numeric,
    acquisitions numeric,
    investing_cash_flow numeric,
    net_debt_issuance numeric,
    common_stock_issuance numeric,
    common_stock_repurchased numeric,
    dividends_paid numeric,
    financing_cash_flow numeric,
    effect_of_exchange_rates numeric,
    net_change_in_cash numeric,
    cash_at_beginning_of_period numeric,
    cash_at_end_of_period numeric,
    free_cash_flow numeric,
    income_taxes_paid numeric,
    interest_paid numeric,
    answer jsonb not null,
    provider text not null,
    ingest_id bigint not null,
    known_from timestamp with time zone not null,
    known_to timestamp with time zone not null,
    replaced_by_ingest_id bigint not null,
    constraint cash_flow_statement_version_lasted CHECK (known_from < known_to),
    constraint cash_flow_statement_version_pkey PRIMARY KEY (instrument_id, period_type, fiscal_date, fiscal_period, known_from)
);

create table circuit_breaker (
    provider text not null,
    state breaker_state not null default 'closed'::breaker_state,
    failures integer not null default 0 /* In a row, counted over all processes. */,
    retry_at timestamp with time zone,
    trial_lease_id bigint,
    last_error_class text,
    last_error text,
    last_failed_at timestamp with time zone,
    changed_at timestamp with time zone not null default clock_timestamp(),
    constraint circuit_breaker_knows_when_to_retry CHECK ((state = 'closed'::breaker_state) = (retry_at IS NULL)),
    constraint circuit_breaker_pkey PRIMARY KEY (provider),
    constraint circuit_breaker_trial_has_a_holder CHECK ((state = 'half_open'::breaker_state) = (trial_lease_id IS NOT NULL))
);
CREATE TRIGGER circuit_breaker_changes BEFORE UPDATE OF state ON circuit_breaker FOR EACH ROW WHEN (old.state IS DISTINCT FROM new.state) EXECUTE FUNCTION record_breaker_transition();

create table circuit_breaker_transition (
    transition_id bigint not null generated by default as identity,
    provider text not null,
    changed_at timestamp with time zone not null,
    from_state breaker_state not null,
    to_state breaker_state not null,
    failures integer not null,
    last_error_class text,
    constraint circuit_breaker_transition_pkey PRIMARY KEY (transition_id)
);
CREATE INDEX circuit_breaker_transition_latest ON public.circuit_breaker_transition USING btree (provider, changed_at DESC);

-- What is known of the company behind an instrument; what is not told is null.
create table company (
    instrument_id bigint not null,
    name text not null,
    cik text,
    isin text,
    cusip text,
    exchange text,
    currency text,
    sector text,
    industry text,
    country text,
    listed_on date,
    employees bigint,
    website text,
    description text,
    is_etf boolean,
    is_trading boolean,
    answer jsonb not null /* The provider's row without the fields that change every day, such as price and volume. */,
    provider text not null,
    ingest_id bigint not null,
    known_from timestamp with time zone not null,
    constraint company_cik_has_ten_digits CHECK (cik ~ '^[0-9]{10}$'::text),
    constraint company_employees_is_not_negative CHECK (employees >= 0),
    constraint company_pkey PRIMARY KEY (instrument_id)
);

-- Values that were in company from known_from (included) to known_to (excluded).
create table company_version (
    instrument_id bigint not null,
    name text not null,
    cik text,
    isin text,
    cusip text,
    exchange text,
    currency text,
    sector text,
    industry text,
    country text,
    listed_on date,
    employees bigint,
    website text,
    description text,
    is_etf boolean,
    is_trading boolean,
    answer jsonb not null,
    provider text not null,
    ingest_id bigint not null,
    known_from timestamp with time zone not null,
    known_to timestamp with time zone not null,
    replaced_by_ingest_id bigint not null,
    constraint company_version_lasted CHECK (known_from < known_to),
    constraint company_version_pkey PRIMARY KEY (instrument_id, known_from)
);

create table coverage (
    dataset text not null,
    provider text not null /* Who was asked: who was asked nothing has nothing covered, whatever another provider has said. */,
    instrument_id bigint not null,
    state coverage_state not null,
    sessions datemultirange not null /* A session owns the days up to the next one; the states of an instrument never share a day. */,
    updated_at timestamp with time zone not null default now(),
    asked_at timestamp with time zone not null default now() /* When the oldest answer came that says so of these days; kept for provider_empty, which expires. */,
    constraint coverage_holds_something CHECK (NOT isempty(sessions)),
    constraint coverage_instrument_id_fkey FOREIGN KEY (instrument_id) REFERENCES instrument(instrument_id),
    constraint coverage_pkey PRIMARY KEY (dataset, provider, instrument_id, state)
);

-- hypertable by session_date, chunks of 1800 days
create table daily_bar (
    instrument_id bigint not null,
    session_date date not null,
    open double precision not null,
    high double precision not null,
    low double precision not null,
    close double precision not null,
    volume double precision not null,
    adjustment bar_adjustment not null,
    provider text not null,
    ingest_id bigint not null,
    known_from timestamp with time zone not null /* When this database came to hold these values (aware UTC); the answer's own time is in ingest_log. */,
    constraint daily_bar_pkey PRIMARY KEY (instrument_id, session_date),
    constraint daily_bar_prices_are_in_order CHECK (low <= open AND low <= close AND open <= high AND close <= high AND low > 0::double precision),
    constraint daily_bar_volume_is_not_negative CHECK (volume >= 0::double precision AND volume < 'Infinity'::double precision)
);
CREATE INDEX daily_bar_session_date_idx ON public.daily_bar USING btree (session_date DESC);
CREATE TRIGGER daily_bar_deleted AFTER DELETE ON daily_bar REFERENCING OLD TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION invalidate_daily_bars();
CREATE TRIGGER daily_bar_inserted AFTER INSERT ON daily_bar REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION invalidate_daily_bars();
CREATE TRIGGER daily_bar_updated_from AFTER UPDATE ON daily_bar REFERENCING OLD TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION invalidate_daily_bars();
CREATE TRIGGER daily_bar_updated_to AFTER UPDATE ON daily_bar REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION invalidate_daily_bars();

-- Days within a year whose weeks, months, quarters and years no longer equal daily_bar.
create table daily_bar_invalidation (
    invalidation_id bigint not null generated always as identity,
    instrument_id bigint not null,
    span daterange not null,
    noted_at timestamp with time zone not null default now() /* When the writer of the bars began its transaction. */,
    constraint daily_bar_invalidation_is_some_time CHECK (NOT isempty(span)),
    constraint daily_bar_invalidation_pkey PRIMARY KEY (invalidation_id)
);
CREATE INDEX daily_bar_invalidation_of ON public.daily_bar_invalidation USING gist (instrument_id, span);

-- Values that were in daily_bar from known_from (included) to known_to (excluded).
create table daily_bar_version (
    instrument_id bigint not null,
    session_date date not null,
    open double precision not null,
    high double precision not null,
    low double precision not null,
    close double precision not null,
    volume double precision not null,
    adjustment bar_adjustment not null,
    provider text not null,
    ingest_id bigint not null,
    known_from timestamp with time zone not null,
    known_to timestamp with time zone not null,
    replaced_by_ingest_id bigint not null,
    constraint daily_bar_version_lasted CHECK (known_from < known_to),
    constraint daily_bar_version_pkey PRIMARY KEY (instrument_id, session_date, known_from)
);
CREATE INDEX daily_bar_version_latest ON public.daily_bar_version USING btree (known_to DESC);

-- Work that came to nothing; a letter is never deleted.
create table dead_letter (
    letter_id bigint not null generated always as identity,
    fingerprint text not null,
    dataset text not null,
    provider text /* Null for a run, which may have asked several. */,
    work letter_work not null,
    subject text not null /* Ticker, ISO date, ticker and date, or job and what it was to do: as it was last seen. */,
    instrument_id bigint,
    sessions daterange /* The days that were asked for, of all occurrences together; an answer that holds them resolves it. */,
    state letter_state not null,
    reason text not null /* Why the letter is in its state. */,
    error_class text not null,
    message text not null,
    request text not null,
    run_id text not null,
    raw_answers text[] not null default '{}'::text[],
    details jsonb not null default '{}'::jsonb,
    deferred boolean not null default false /* The request was never sent the last time (circuit breaker, quota), which uses up no attempt. */,
    attempts integer not null default 0 /* Tries by the dead-letter path; a deferral is none. */,
    occurrences integer not null default 1 /* How often the work came to nothing, by any path. */,
    first_seen_at timestamp with time zone not null,
    last_seen_at timestamp with time zone not null,
    next_attempt_at timestamp with time zone,
    claim uuid /* Names the run that does the work: its tag and its run key. */,
    claimed_by text,
    claimed_at timestamp with time zone,
    claimed_from letter_state /* Where the letter goes back to if no run came of it. */,
    claim_expires_at timestamp with time zone,
    correlation_id text /* Of the work that failed first: repeats and retries leave it. */,
    constraint dead_letter_counts_are_counts CHECK (attempts >= 0 AND occurrences >= 1),
    constraint dead_letter_fingerprint_is_sha256 CHECK (fingerprint ~ '^[0-9a-f]{64}$'::text),
    constraint dead_letter_instrument_id_fkey FOREIGN KEY (instrument_id) REFERENCES instrument(instrument_id),
    constraint dead_letter_open_is_due_some_time CHECK ((state = 'open'::letter_state) = (next_attempt_at IS NOT NULL)),
    constraint dead_letter_pkey PRIMARY KEY (letter_id),
    constraint dead_letter_retrying_is_claimed CHECK (num_nonnulls(claim, claimed_by, claimed_at, claimed_from, claim_expires_at) =
CASE
    WHEN state = 'retrying'::letter_state THEN 5
    ELSE 0
END)
);
CREATE INDEX dead_letter_claimed ON public.dead_letter USING btree (claim) WHERE (state = 'retrying'::letter_state);
CREATE INDEX dead_letter_due ON public.dead_letter USING btree (next_attempt_at) WHERE (state = 'open'::letter_state);
CREATE INDEX dead_letter_latest ON public.dead_letter USING btree (last_seen_at DESC, letter_id DESC);
CREATE INDEX dead_letter_unsettled_instrument ON public.dead_letter USING btree (dataset, instrument_id) WHERE (state = ANY (ARRAY['open'::letter_state, 'retrying'::letter_state, 'parked'::letter_state]));
CREATE INDEX dead_letter_waiting ON public.dead_letter USING btree (dataset, state, first_seen_at) WHERE (state = ANY (ARRAY['open'::letter_state, 'retrying'::letter_state, 'parked'::letter_state]));
CREATE UNIQUE INDEX dead_letter_unsettled_fingerprint ON public.dead_letter USING btree (fingerprint) WHERE (state = ANY (ARRAY['open'::letter_state, 'retrying'::letter_state, 'parked'::letter_state]));
CREATE TRIGGER dead_letter_changes_state AFTER UPDATE ON dead_letter FOR EACH ROW WHEN (old.state IS DISTINCT FROM new.state OR old.claim IS NOT NULL AND new.claim IS DISTINCT FROM old.claim) EXECUTE FUNCTION check_and_record_letter();
CREATE TRIGGER dead_letter_claim_ends BEFORE UPDATE ON dead_letter FOR EACH ROW WHEN (old.state = 'retrying'::letter_state AND new.state <> 'retrying'::letter_state) EXECUTE FUNCTION end_claim();
CREATE TRIGGER dead_letter_is_created AFTER INSERT ON dead_letter FOR EACH ROW EXECUTE FUNCTION check_and_record_letter();
CREATE TRIGGER dead_letter_is_kept BEFORE DELETE OR TRUNCATE ON dead_letter FOR EACH STATEMENT EXECUTE FUNCTION refuse_to_forget_letters();

-- What a letter may become; from null is its creation. Resolved, discarded and obsolete are final.
create table dead_letter_legal_transition (
    from_state letter_state,
    to_state letter_state not null,
    constraint dead_letter_legal_transition_once UNIQUE NULLS NOT DISTINCT (from_state, to_state)
);

-- Every step of every letter; rows are only added.
create table dead_letter_transition (
    transition_id bigint not null generated always as identity,
    letter_id bigint not null,
    from_state letter_state,
    to_state letter_state not null,
    at timestamp with time zone not null default clock_timestamp(),
    by text not null /* Who: set by set_config('wrdata.actor', …, true) in the transaction that changes the letter. */,
    reason text not null,
    attempts integer not null,
    constraint dead_letter_transition_letter_id_fkey FOREIGN KEY (letter_id) REFERENCES dead_letter(letter_id),
    constraint dead_letter_transition_pkey PRIMARY KEY (transition_id)
);
CREATE INDEX dead_letter_transition_letter ON public.dead_letter_transition USING btree (letter_id, transition_id);
CREATE TRIGGER dead_letter_transition_is_kept BEFORE DELETE OR UPDATE OR TRUNCATE ON dead_letter_transition FOR EACH STATEMENT EXECUTE FUNCTION refuse_to_forget_letters();

create table dividend (
    instrument_id bigint not null,
    ex_date date not null,
    kind text not null,
    ordinal integer not null default 1 /* Counts the dividends of one share, ex-date and kind from 1 (marketdata.actions.numbered). */,
    amount numeric not null /* As paid on a share of ex_date, not adjusted for later splits. */,
    currency text /* Null where the provider does not tell it, such as FMP. */,
    declaration_date date,
    record_date date,
    payment_date date,
    frequency text,
    provider text not null,
    ingest_id bigint not null,
    known_from timestamp with time zone not null,
    constraint dividend_is_counted_from_one CHECK (ordinal > 0),
    constraint dividend_is_paid CHECK (amount > 0::numeric),
    constraint dividend_kind_is_known CHECK (kind = ANY (ARRAY['regular'::text, 'special'::text])),
    constraint dividend_pkey PRIMARY KEY (instrument_id, ex_date, kind, ordinal)
);
CREATE INDEX dividend_by_day ON public.dividend USING btree (ex_date);

-- Dividends that do not count in prices as they stand: converted, confirmed, or waiting for a person or a rate. Written anew whenever the factors of the instrument are derived.
create table dividend_check (
    instrument_id bigint not null,
    ex_date date not null,
    kind text not null,
    ordinal integer not null,
    amount numeric not null,
    currency text,
    verdict text not null,
    reason text not null,
    counted numeric /* In the currency of the prices, as it is taken out of them; null: it adjusts nothing. */,
    series text /* The series of exchange rates (FRED) that the currency is converted by; observed_on is the day of the rate, the last one before the ex-date. */,
    observed_on date,
    rate numeric,
    checked_at timestamp with time zone not null,
    constraint dividend_check_counts_or_waits CHECK ((verdict = ANY (ARRAY['converted'::text, 'confirmed'::text])) = (counted IS NOT NULL)),
    constraint dividend_check_pkey PRIMARY KEY (instrument_id, ex_date, kind, ordinal),
    constraint dividend_check_rate_is_whole CHECK (num_nulls(observed_on, rate) = ANY (ARRAY[0, 2])),
    constraint dividend_check_verdict_is_known CHECK (verdict = ANY (ARRAY['converted'::text, 'confirmed'::text, 'no_rate'::text, 'above_price'::text]))
);

-- What a person says a dividend is in the currency of the prices; the latest word counts.
create table dividend_confirmation (
    instrument_id bigint not null,
    ex_date date not null,
    kind text not null,
    amount numeric not null,
    currency text not null /* Of the dividend; empty where it is not told. */,
    counted numeric not null,
    confirmed_by text not null,
    confirmed_at timestamp with time zone not null default clock_timestamp(),
    reason text not null,
    constraint dividend_confirmation_is_no_debt CHECK (counted >= 0::numeric),
    constraint dividend_confirmation_pkey PRIMARY KEY (instrument_id, ex_date, kind, amount, currency, confirmed_at)
);

-- Values that were in dividend from known_from (included) to known_to (excluded).
create table dividend_version (
    instrument_id bigint not null,
    ex_date date not null,
    kind text not null,
    ordinal integer not null,
    amount numeric not null,
    currency text,
    declaration_date date,
    record_date date,
    payment_date date,
    frequency text,
    provider text not null,
    ingest_id bigint not null,
    known_from timestamp with time zone not null,
    known_to timestamp with time zone not null,
    replaced_by_ingest_id bigint not null,
    constraint dividend_version_lasted CHECK (known_from < known_to),
    constraint dividend_version_pkey PRIMARY KEY (instrument_id, ex_date, kind, ordinal, known_from)
);

-- Ratios of a fiscal year or quarter as the provider computed them: plain fractions, 0.46 being 46 %.
-- hypertable by fiscal_date, chunks of 3600 days
create table financial_ratio (
    instrument_id bigint not null,
    period_type text not null,
    fiscal_date date not null,
    fiscal_period text not null,
    fiscal_year integer not null,
    reported_currency text not null,
    gross_profit_margin numeric,
    ebitda_margin numeric,
    operating_profit_margin numeric,
    net_profit_margin numeric,
    receivables_turnover numeric,
    inventory_turnover numeric,
    asset_turnover numeric,
    current_ratio numeric,
    quick_ratio numeric,
    cash_ratio numeric,
    price_to_earnings numeric,
    price_to_book numeric,
    price_to_sales numeric,
    price_to_free_cash_flow numeric,
    debt_to_assets numeric,
    debt_to_equity numeric,
    financial_leverage numeric,
    interest_coverage numeric,
    dividend_payout numeric,
    dividend_yield numeric,
    dividend_per_share numeric,
    revenue_per_share numeric,
    book_value_per_share numeric,
    operating_cash_flow_per_share numeric,
    free_cash_flow_per_share numeric,
    effective_tax_rate numeric,
    enterprise_value_multiple numeric,
    answer jsonb not null,
    provider text not null,
    ingest_id bigint not null,
    known_from timestamp with time zone not null,
    constraint financial_ratio_period_is_known CHECK (period_type = 'annual'::text AND fiscal_period = 'FY'::text OR period_type = 'half_yearly'::text AND (fiscal_period = ANY (ARRAY['H1'::text, 'H2'::text])) OR period_type = 'quarterly'::text AND (fiscal_period = ANY (ARRAY['Q1'::text, 'Q2'::text, 'Q3'::text, 'Q4'::text]))),
    constraint financial_ratio_pkey PRIMARY KEY (instrument_id, period_type, fiscal_date, fiscal_period)
);
CREATE INDEX financial_ratio_answer ON public.financial_ratio USING gin (answer jsonb_path_ops);
CREATE INDEX financial_ratio_fiscal_date_idx ON public.financial_ratio USING btree (fiscal_date DESC);
CREATE INDEX financial_ratio_latest ON public.financial_ratio USING btree (instrument_id, period_type, fiscal_date DESC);

-- Values that were in financial_ratio from known_from (included) to known_to (excluded).
create table financial_ratio_version (
    instrument_id bigint not null,
    period_type text not null,
    fiscal_date date not null,
    fiscal_period text not null,
    fiscal_year integer not null,
    reported_currency text not null,
    gross_profit_margin numeric,
    ebitda_margin numeric,
    operating_profit_margin numeric,
    net_profit_margin numeric,
    receivables_turnover numeric,
    inventory_turnover numeric,
    asset_turnover numeric,
    current_ratio numeric,
    quick_ratio numeric,
    cash_ratio numeric,
    price_to_earnings numeric,
    price_to_book numeric,
    price_to_sales numeric,
    price_to_free_cash_flow numeric,
    debt_to_assets numeric,
    debt_to_equity numeric,
    financial_leverage numeric,
    interest_coverage numeric,
    dividend_payout numeric,
    dividend_yield numeric,
    dividend_per_share numeric,
    revenue_per_share numeric,
    book_value_per_share numeric,
    operating_cash_flow_per_share numeric,
    free_cash_flow_per_share numeric,
    effective_tax_rate numeric,
    enterprise_value_multiple numeric,
    answer jsonb not null,
    provider text not null,
    ingest_id bigint not null,
    known_from timestamp with time zone not null,
    known_to timestamp with time zone not null,
    replaced_by_ingest_id bigint not null,
    constraint financial_ratio_version_lasted CHECK (known_from < known_to),
    constraint financial_ratio_version_pkey PRIMARY KEY (instrument_id, period_type, fiscal_date, fiscal_period, known_from)
);

create table iceberg_catalog.iceberg_namespace_properties (
    catalog_name character varying(255) not null,
    namespace character varying(255) not null,
    property_key character varying(255) not null,
    property_value character varying(1000) not null,
    constraint iceberg_namespace_properties_pkey PRIMARY KEY (catalog_name, namespace, property_key)
);

create table iceberg_catalog.iceberg_tables (
    catalog_name character varying(255) not null,
    table_namespace character varying(255) not null,
    table_name character varying(255) not null,
    metadata_location character varying(1000),
    previous_metadata_location character varying(1000),
    constraint iceberg_tables_pkey PRIMARY KEY (catalog_name, table_namespace, table_name)
);

-- Income of a company in a fiscal year or quarter, in reported_currency; expenses are positive.
-- hypertable by fiscal_date, chunks of 3600 days
create table income_statement (
    instrument_id bigint not null,
    period_type text not null,
    fiscal_date date not null,
    fiscal_period text not null,
    fiscal_year integer not null,
    reported_currency text not null,
    filing_date date,
    accepted_at timestamp with time zone /* When the SEC took the filing that these figures are of: the moment from which they were public. */,
    revenue numeric,
    cost_of_revenue numeric,
    gross_profit numeric,
    research_and_development numeric,
    selling_general_and_administrative numeric,
    operating_expenses numeric,
    depreciation_and_amortization numeric,
    operating_income numeric,
    ebitda numeric,
    ebit numeric,
    interest_income numeric,
    interest_expense numeric,
    income_before_tax numeric,
    income_tax_expense numeric,
    net_income_from_continuing_operations numeric,
    net_income numeric,
    eps numeric,
    eps_diluted numeric,
    weighted_average_shares numeric,
    weighted_average_shares_diluted numeric,
    answer jsonb not null,
    provider text not null,
    ingest_id bigint not null,
    known_from timestamp with time zone not null,
    constraint income_statement_is_filed_afterwards CHECK (filing_date >= fiscal_date),
    constraint income_statement_period_is_known CHECK (period_type = 'annual'::text AND fiscal_period = 'FY'::text OR period_type = 'half_yearly'::text AND (fiscal_period = ANY (ARRAY['H1'::text, 'H2'::text])) OR period_type = 'quarterly'::text AND (fiscal_period = ANY (ARRAY['Q1'::text, 'Q2'::text, 'Q3'::text, 'Q4'::text]))),
    constraint income_statement_pkey PRIMARY KEY (instrument_id, period_type, fiscal_date, fiscal_period)
);
CREATE INDEX income_statement_answer ON public.income_statement USING gin (answer jsonb_path_ops);
CREATE INDEX income_statement_fiscal_date_idx ON public.income_statement USING btree (fiscal_date DESC);
CREATE INDEX income_statement_latest ON public.income_statement USING btree (instrument_id, period_type, fiscal_date DESC);

-- Values that were in income_statement from known_from (included) to known_to (excluded).
create table income_statement_version (
    instrument_id bigint not null,
    period_type text not null,
    fiscal_date date not null,
    fiscal_period text not null,
    fiscal_year integer not null,
    reported_currency text not null,
    filing_date date,
    accepted_at timestamp with time zone,
    revenue numeric,
    cost_of_revenue numeric,
    gross_profit numeric,
    research_and_development numeric,
    selling_general_and_administrative numeric,
    operating_expenses numeric,
    depreciation_and_amortization numeric,
    operating_income numeric,
    ebitda numeric,
    ebit numeric,
    interest_income numeric,
    interest_expense numeric,
    income_before_tax numeric,
    income_tax_expense numeric,
    net_income_from_continuing_operations numeric,
    net_income numeric,
    eps numeric,
    eps_diluted numeric,
    weighted_average_shares numeric,
    weighted_average_shares_diluted numeric,
    answer jsonb not null,
    provider text not null,
    ingest_id bigint not null,
    known_from timestamp with time zone not null,
    known_to timestamp with time zone not null,
    replaced_by_ingest_id bigint not null,
    constraint income_statement_version_lasted CHECK (known_from < known_to),
    constraint income_statement_version_pkey PRIMARY KEY (instrument_id, period_type, fiscal_date, fiscal_period, known_from)
);

-- Who joined and left an index, which is the instrument; providers lack some additions of members.
create table index_change (
    instrument_id bigint not null,
    effective_on date not null /* The first day on which the index is with (added) or without (removed) the ticker. */,
    ticker text not null /* In our spelling, as it was then. */,
    action text not null,
    security text,
    reason text,
    announced_on date,
    provider text not null,
    ingest_id bigint not null,
    known_from timestamp with time zone not null,
    constraint index_change_action_is_known CHECK (action = ANY (ARRAY['added'::text, 'removed'::text])),
    constraint index_change_pkey PRIMARY KEY (instrument_id, effective_on, ticker, action)
);

-- Values that were in index_change from known_from (included) to known_to (excluded).
create table index_change_version (
    instrument_id bigint not null,
    effective_on date not null,
    ticker text not null,
    action text not null,
    security text,
    reason text,
    announced_on date,
    provider text not null,
    ingest_id bigint not null,
    known_from timestamp with time zone not null,
    known_to timestamp with time zone not null,
    replaced_by_ingest_id bigint not null,
    constraint index_change_version_lasted CHECK (known_from < known_to),
    constraint index_change_version_pkey PRIMARY KEY (instrument_id, effective_on, ticker, action, known_from)
);

create table ingest_log (
    ingest_id bigint not null generated by default as identity,
    dataset text not null,
    provider text not null,
    request text not null,
    content_sha256 text,
    raw_answers text[] not null default '{}'::text[] /* Keys of the raw answers in the bucket, in the order in which they came; empty where none came. */,
    run_id text not null,
    instrument_id bigint /* Null where an answer holds many instruments. */,
    adjustment bar_adjustment,
    fetched_at timestamp with time zone not null,
    finished_at timestamp with time zone not null default clock_timestamp(),
    outcome ingest_outcome not null,
    error_class text,
    message text,
    notes text[] not null default '{}'::text[] /* One sentence a fact, such as which minutes of a day neither the file nor REST has. */,
    rows_inserted bigint not null default 0,
    rows_unchanged bigint not null default 0,
    rows_restated bigint not null default 0,
    rows_stale bigint not null default 0 /* Rows that differ from the table but come from an answer older than the stored one: left out. */,
    rows_rejected bigint not null default 0 /* Rows that could not be read or broke a rule; those of one reason are one dead letter. */,
    rows_withdrawn bigint not null default 0 /* Stored rows that an answer which holds all there is lacked: kept as versions. */,
    days_contradicted bigint not null default 0 /* Days the provider now has nothing for although a bar is held: the ledger keeps the bar's state. */,
    correlation_id text /* Of the tick or command that asked for it, in log lines too; null before this column was there. */,
    constraint ingest_log_failure_has_a_reason CHECK ((outcome = 'failed'::ingest_outcome) = (error_class IS NOT NULL)),
    constraint ingest_log_instrument_id_fkey FOREIGN KEY (instrument_id) REFERENCES instrument(instrument_id),
    constraint ingest_log_pkey PRIMARY KEY (ingest_id)
);
CREATE INDEX ingest_log_correlation ON public.ingest_log USING btree (correlation_id) WHERE (correlation_id IS NOT NULL);
CREATE INDEX ingest_log_failures ON public.ingest_log USING btree (dataset, finished_at DESC) WHERE (outcome = 'failed'::ingest_outcome);
CREATE INDEX ingest_log_instrument ON public.ingest_log USING btree (instrument_id, finished_at DESC) WHERE (instrument_id IS NOT NULL);
CREATE INDEX ingest_log_latest ON public.ingest_log USING btree (dataset, finished_at DESC);
CREATE INDEX ingest_log_run ON public.ingest_log USING btree (run_id);
CREATE CONSTRAINT TRIGGER ingest_log_is_counted AFTER INSERT ON ingest_log DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION count_ingest();

-- The ingest log added up, since a scrape may not read all of it.
create table ingest_total (
    dataset text not null,
    provider text not null,
    part smallint not null /* Sessions of the database share several rows, so that commits seldom wait for each other. */,
    loaded bigint not null,
    failed bigint not null,
    rows_inserted bigint not null,
    rows_unchanged bigint not null,
    rows_restated bigint not null,
    rows_stale bigint not null,
    rows_rejected bigint not null,
    rows_withdrawn bigint not null,
    latest_loaded_at timestamp with time zone,
    constraint ingest_total_pkey PRIMARY KEY (dataset, provider, part)
) with (fillfactor=50);

-- What is traded; share classes of one company are several instruments.
create table instrument (
    instrument_id bigint not null generated always as identity,
    name text not null,
    cik text,
    sector text,
    kind text not null default 'equity'::text /* equity, pair, series or index. */,
    created_at timestamp with time zone not null default now(),
    constraint instrument_cik_has_ten_digits CHECK (cik ~ '^[0-9]{10}$'::text),
    constraint instrument_pkey PRIMARY KEY (instrument_id)
);

-- What the list of constituents told of an identity: the instrument keeps only what is true now.
create table instrument_event (
    event_id bigint not null generated always as identity,
    instrument_id bigint not null,
    ticker text not null,
    kind text not null,
    day date not null /* The day on which the list told it: not later than that. */,
    before text not null /* Ticker, or CIK, of before. */,
    after text not null,
    noted_at timestamp with time zone not null default now(),
    constraint instrument_event_instrument_id_fkey FOREIGN KEY (instrument_id) REFERENCES instrument(instrument_id),
    constraint instrument_event_kind_is_known CHECK (kind = ANY (ARRAY['renamed'::text, 'issuer_changed'::text, 'ticker_reused'::text])),
    constraint instrument_event_once UNIQUE (instrument_id, kind, day, before, after),
    constraint instrument_event_pkey PRIMARY KEY (event_id)
);

create table instrument_ticker (
    instrument_id bigint not null,
    ticker text not null,
    kind text not null default 'equity'::text /* As instrument.kind: a ticker is unique within its kind. */,
    valid daterange not null /* Days the ticker was carried; without a lower bound where nobody else is known to have had it before. */,
    constraint instrument_ticker_belongs_to_one EXCLUDE USING gist (kind WITH =, ticker WITH =, valid WITH &&),
    constraint instrument_ticker_instrument_id_fkey FOREIGN KEY (instrument_id) REFERENCES instrument(instrument_id),
    constraint instrument_ticker_is_one_at_a_time EXCLUDE USING gist (instrument_id WITH =, valid WITH &&),
    constraint instrument_ticker_is_some_time CHECK (NOT isempty(valid))
);
CREATE UNIQUE INDEX instrument_ticker_open ON public.instrument_ticker USING btree (instrument_id) WHERE upper_inf(valid);

-- Rows of minutes and trades that were loaded, by day in the dataset's own zone; written by whoever loads or restores, and by nobody who deletes. Of daily bars the coverage ledger says as much.
create table loaded_day (
    dataset text not null,
    provider text not null,
    instrument_id bigint not null,
    day date not null,
    rows bigint not null,
    constraint loaded_day_has_rows CHECK (rows > 0),
    constraint loaded_day_pkey PRIMARY KEY (dataset, provider, instrument_id, day)
);
CREATE INDEX loaded_day_of ON public.loaded_day USING btree (dataset, day);

-- One row for each value that a period of a series ever had, as the provider published it.
create table macro_observation (
    instrument_id bigint not null,
    observed_on date not null /* The period: its first day, of a week the day that ends it, as the provider dates it. */,
    realtime_start date not null /* The vintage: the day (St. Louis) on which the value was published. */,
    realtime_end date not null /* Last day on which it was the latest value; 9999-12-31 while it is. A revision closes it, so the row is restated then. */,
    value numeric /* Null: the provider says that there is none, such as on a holiday. A period that was not published has no row. */,
    provider text not null,
    ingest_id bigint not null,
    known_from timestamp with time zone not null,
    constraint macro_observation_is_a_number CHECK (value <> 'NaN'::numeric AND value < 'Infinity'::numeric AND value > '-Infinity'::numeric),
    constraint macro_observation_lasted CHECK (realtime_start <= realtime_end),
    constraint macro_observation_pkey PRIMARY KEY (instrument_id, observed_on, realtime_start)
);

-- Values that were in macro_observation from known_from (included) to known_to (excluded).
create table macro_observation_version (
    instrument_id bigint not null,
    observed_on date not null,
    realtime_start date not null,
    realtime_end date not null,
    value numeric,
    provider text not null,
    ingest_id bigint not null,
    known_from timestamp with time zone not null,
    known_to timestamp with time zone not null,
    replaced_by_ingest_id bigint not null,
    constraint macro_observation_version_lasted CHECK (known_from < known_to),
    constraint macro_observation_version_pkey PRIMARY KEY (instrument_id, observed_on, realtime_start, known_from)
);

-- Minutes with trades, of shares and crypto pairs; whether a minute without a row had no trade or was never asked for is told by coverage.
-- hypertable by opened_at, chunks of 7 days
create table minute_bar (
    instrument_id bigint not null,
    provider text not null,
    opened_at timestamp with time zone not null,
    open double precision not null,
    high double precision not null,
    low double precision not null,
    close double precision not null,
    volume double precision not null /* In shares, or in the pair's base currency. */,
    vwap double precision,
    trades bigint,
    ingest_id bigint not null,
    known_from timestamp with time zone not null,
    constraint minute_bar_pkey PRIMARY KEY (instrument_id, provider, opened_at),
    constraint minute_bar_prices_are_in_order CHECK (low <= open AND low <= close AND open <= high AND close <= high AND low > 0::double precision),
    constraint minute_bar_volume_is_not_negative CHECK (volume >= 0::double precision AND volume < 'Infinity'::double precision)
);
CREATE INDEX minute_bar_opened_at_idx ON public.minute_bar USING btree (opened_at DESC);
CREATE TRIGGER minute_bar_deleted AFTER DELETE ON minute_bar REFERENCING OLD TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION invalidate_minute_bars();
CREATE TRIGGER minute_bar_inserted AFTER INSERT ON minute_bar REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION invalidate_minute_bars();
CREATE TRIGGER minute_bar_updated_from AFTER UPDATE ON minute_bar REFERENCING OLD TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION invalidate_minute_bars();
CREATE TRIGGER minute_bar_updated_to AFTER UPDATE ON minute_bar REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION invalidate_minute_bars();

-- Whole buckets of five minutes, within a month of UTC, whose bars no longer equal minute_bar; those of days that lie in the archive only wait until these are restored.
create table minute_bar_invalidation (
    invalidation_id bigint not null generated always as identity,
    instrument_id bigint not null,
    provider text not null,
    span tstzrange not null,
    noted_at timestamp with time zone not null default now() /* When the writer of the bars began its transaction. */,
    constraint minute_bar_invalidation_is_some_time CHECK (NOT isempty(span)),
    constraint minute_bar_invalidation_pkey PRIMARY KEY (invalidation_id)
);
CREATE INDEX minute_bar_invalidation_of ON public.minute_bar_invalidation USING gist (instrument_id, span);

-- Values that were in minute_bar from known_from (included) to known_to (excluded).
create table minute_bar_version (
    instrument_id bigint not null,
    provider text not null,
    opened_at timestamp with time zone not null,
    open double precision not null,
    high double precision not null,
    low double precision not null,
    close double precision not null,
    volume double precision not null,
    vwap double precision,
    trades bigint,
    ingest_id bigint not null,
    known_from timestamp with time zone not null,
    known_to timestamp with time zone not null,
    replaced_by_ingest_id bigint not null,
    constraint minute_bar_version_lasted CHECK (known_from < known_to),
    constraint minute_bar_version_pkey PRIMARY KEY (instrument_id, provider, opened_at, known_from)
);
CREATE INDEX minute_bar_version_latest ON public.minute_bar_version USING btree (known_to DESC);

-- An instrument's factors by step: from first_days[n] to the day before first_days[n + 1], split_factors[n] makes as-traded prices ones in the shares of the latest bar, dividend_factors[n] takes later dividends out of them.
create table price_factor (
    instrument_id bigint not null,
    first_days date[] not null,
    split_factors double precision[] not null,
    dividend_factors double precision[] not null,
    last_session date not null /* The latest bar that was looked at: actions after it change nothing yet. */,
    derived_at timestamp with time zone not null,
    constraint price_factor_has_both_for_each_step CHECK (cardinality(first_days) > 0 AND first_days[1] = '0001-01-01'::date AND cardinality(split_factors) = cardinality(first_days) AND cardinality(dividend_factors) = cardinality(first_days)),
    constraint price_factor_is_positive CHECK ((0::double precision < ALL (split_factors)) AND ('Infinity'::double precision > ALL (split_factors)) AND (0::double precision < ALL (dividend_factors)) AND (1::double precision >= ALL (dividend_factors))),
    constraint price_factor_pkey PRIMARY KEY (instrument_id)
);

-- What a provider shows of the past is a fact of the key: absences that are older than it are asked again.
create table provider_plan (
    provider text not null,
    plan text /* A digest of the key and the limits declared for it; never the key. */,
    shows_since timestamp with time zone not null /* When the key or its limits changed, or an answer first showed days that earlier ones lacked. */,
    constraint provider_plan_pkey PRIMARY KEY (provider)
);

-- A restore writes a row into the database that it restored. While one is not released, schedules
and sensors start nothing: `wrdata recover` releases it when all stores agree.
create table recovery_hold (
    recovery_hold_id bigint not null generated always as identity,
    reason text not null,
    target timestamp with time zone not null /* The moment whose rows the database holds. */,
    held_at timestamp with time zone not null default clock_timestamp(),
    released_at timestamp with time zone,
    released_by text,
    accepted text /* What a person let stand although the stores did not agree, in that person's words. */,
    constraint recovery_hold_is_released_by_somebody CHECK ((released_at IS NULL) = (released_by IS NULL)),
    constraint recovery_hold_pkey PRIMARY KEY (recovery_hold_id)
);
CREATE UNIQUE INDEX recovery_hold_open ON public.recovery_hold USING btree ((true)) WHERE (released_at IS NULL);

create table request_budget (
    budget text not null /* Provider and a digest of the key; never the key. */,
    next_at timestamp with time zone not null /* The first moment that nobody has reserved yet. */,
    interval_s double precision not null /* Seconds that follow each unit of weight. */,
    paused_until timestamp with time zone /* The provider asked everyone to hold (a 429). */,
    pause_reason text /* What the provider said when it asked for it. */,
    scheduled_until timestamp with time zone /* A scheduled run is at work: until then backfills hardly reserve ahead. */,
    constraint request_budget_interval_is_positive CHECK (interval_s > 0::double precision),
    constraint request_budget_pkey PRIMARY KEY (budget)
) with (fillfactor=50);

-- Who may send when. For people, and for giving back; grants delete rows ten minutes after expiry.
create table request_lease (
    lease_id bigint not null generated by default as identity,
    provider text not null,
    budgets text[] not null,
    lane request_lane not null,
    host text not null,
    pid integer not null,
    run_id text,
    weights integer[] not null,
    slots timestamp with time zone[] not null,
    ends_at timestamp with time zone[] not null /* next_at of each budget after this lease: equal to it as long as nobody reserved behind it. */,
    granted_at timestamp with time zone not null,
    expires_at timestamp with time zone not null,
    released_at timestamp with time zone,
    unused integer[] not null default '{}'::integer[] /* Places (from 1) in slots that were given back: no request was sent on them. */,
    constraint request_lease_has_a_weight_for_each_slot CHECK (cardinality(slots) = cardinality(weights) AND cardinality(slots) > 0),
    constraint request_lease_has_an_end_for_each_budget CHECK (cardinality(ends_at) = cardinality(budgets)),
    constraint request_lease_pkey PRIMARY KEY (lease_id)
);
CREATE INDEX request_lease_expiry ON public.request_lease USING btree (expires_at);

-- What the processes that last asked for a lease held each budget to.
create table request_limit (
    budget text not null,
    provider text not null,
    bounds jsonb not null /* A list of {period, weight, window_s} for a pace and {period, weight, zone} for a quota. */,
    constraint request_limit_pkey PRIMARY KEY (budget)
);

-- Times of requests and of their waits for a permit, added up over all processes since the beginning.
create table request_timing (
    timed text not null,
    provider text not null,
    outcome text not null,
    error_class text not null,
    requests bigint not null,
    seconds double precision not null /* The sum of the times. */,
    buckets bigint[] not null /* How many of the times lie in each bucket of marketdata/recovery/request_timings.py; the last is for longer ones. */,
    constraint request_timing_buckets_hold_all_requests CHECK (cardinality(buckets) = 10),
    constraint request_timing_of_requests_or_waits CHECK (timed = ANY (ARRAY['request'::text, 'permit_wait'::text])),
    constraint request_timing_pkey PRIMARY KEY (timed, provider, outcome, error_class)
) with (fillfactor=50);

-- Permits granted and not given back, by the hour (UTC) of use.
create table request_usage (
    budget text not null,
    hour timestamp with time zone not null,
    lane request_lane not null,
    requests bigint not null,
    weight bigint not null,
    constraint request_usage_pkey PRIMARY KEY (budget, hour, lane)
);

-- Each restore on trial: a backup restored to a moment and compared with production.
create table restore_drill (
    restore_drill_id bigint not null generated always as identity,
    target timestamp with time zone not null /* The moment. Its row is the first commit after it, so that a restore to it can end. */,
    started_at timestamp with time zone not null,
    finished_at timestamp with time zone /* Null while it runs, or if it was killed. */,
    backup_label text,
    rpo_s double precision /* Seconds until this row was safe in the repository: what a loss just before would have cost. */,
    rto_s double precision /* Seconds from the order to restore until the copy could serve, rows from the archive included. */,
    tables_compared integer,
    rows_compared bigint,
    rows_completed bigint /* Rows that only the archive had, restored into the copy. */,
    error text /* Why it failed: which tables differ, or what broke. */,
    audit_rows_lost bigint /* Rows that production had when the copy was up, and that the journal did not give back. */,
    constraint restore_drill_pkey PRIMARY KEY (restore_drill_id),
    constraint restore_drill_that_ended_well_has_figures CHECK (finished_at IS NULL OR error IS NOT NULL OR rpo_s IS NOT NULL AND rto_s IS NOT NULL AND backup_label IS NOT NULL AND tables_compared IS NOT NULL AND rows_compared IS NOT NULL)
);
CREATE INDEX restore_drill_latest ON public.restore_drill USING btree (finished_at DESC) WHERE (error IS NULL);

-- hypertable by bucket_start, chunks of 84 days
create table rollup_15m (
    instrument_id bigint not null,
    provider text not null,
    bucket_start timestamp with time zone not null,
    phase text not null,
    open double precision not null,
    high double precision not null,
    low double precision not null,
    close double precision not null,
    volume double precision not null,
    turnover double precision /* Sum of vwap x volume of the minutes; null where one with volume does not tell its vwap. */,
    trades bigint,
    source_bars integer not null,
    constraint rollup_15m_pkey PRIMARY KEY (instrument_id, provider, bucket_start, phase),
    constraint rollup_phase_is_known CHECK (phase = ANY (ARRAY['regular'::text, 'extended'::text]))
);

create table rollup_1d (
    instrument_id bigint not null,
    provider text not null,
    bucket_start date not null,
    open double precision not null,
    high double precision not null,
    low double precision not null,
    close double precision not null,
    volume double precision not null,
    turnover double precision,
    trades bigint,
    source_bars integer not null,
    constraint rollup_1d_pkey PRIMARY KEY (instrument_id, provider, bucket_start)
);

-- hypertable by bucket_start, chunks of 364 days
create table rollup_1h (
    instrument_id bigint not null,
    provider text not null,
    bucket_start timestamp with time zone not null,
    phase text not null,
    open double precision not null,
    high double precision not null,
    low double precision not null,
    close double precision not null,
    volume double precision not null,
    turnover double precision /* Sum of vwap x volume of the minutes; null where one with volume does not tell its vwap. */,
    trades bigint,
    source_bars integer not null,
    constraint rollup_1h_pkey PRIMARY KEY (instrument_id, provider, bucket_start, phase),
    constraint rollup_phase_is_known CHECK (phase = ANY (ARRAY['regular'::text, 'extended'::text]))
);

create table rollup_1mo (
    instrument_id bigint not null,
    bucket_start date not null,
    open double precision not null,
    high double precision not null,
    low double precision not null,
    close double precision not null,
    volume double precision not null,
    adjustment bar_adjustment,
    source_bars integer not null,
    constraint rollup_1mo_pkey PRIMARY KEY (instrument_id, bucket_start)
);

create table rollup_1q (
    instrument_id bigint not null,
    bucket_start date not null,
    open double precision not null,
    high double precision not null,
    low double precision not null,
    close double precision not null,
    volume double precision not null,
    adjustment bar_adjustment,
    source_bars integer not null,
    constraint rollup_1q_pkey PRIMARY KEY (instrument_id, bucket_start)
);

create table rollup_1w (
    instrument_id bigint not null,
    bucket_start date not null,
    open double precision not null,
    high double precision not null,
    low double precision not null,
    close double precision not null,
    volume double precision not null,
    adjustment bar_adjustment,
    source_bars integer not null,
    constraint rollup_1w_pkey PRIMARY KEY (instrument_id, bucket_start)
);

create table rollup_1y (
    instrument_id bigint not null,
    bucket_start date not null,
    open double precision not null,
    high double precision not null,
    low double precision not null,
    close double precision not null,
    volume double precision not null,
    adjustment bar_adjustment,
    source_bars integer not null,
    constraint rollup_1y_pkey PRIMARY KEY (instrument_id, bucket_start)
);

-- hypertable by bucket_start, chunks of 28 days
create table rollup_5m (
    instrument_id bigint not null,
    provider text not null,
    bucket_start timestamp with time zone not null,
    phase text not null,
    open double precision not null,
    high double precision not null,
    low double precision not null,
    close double precision not null,
    volume double precision not null,
    turnover double precision /* Sum of vwap x volume of the minutes; null where one with volume does not tell its vwap. */,
    trades bigint,
    source_bars integer not null,
    constraint rollup_5m_pkey PRIMARY KEY (instrument_id, provider, bucket_start, phase),
    constraint rollup_phase_is_known CHECK (phase = ANY (ARRAY['regular'::text, 'extended'::text]))
);

-- Kept by each worker while it works; rows of runs that ended are removed by later looks.
create table run_worker (
    run_id text not null,
    job text not null,
    place text not null /* Host and namespace in which the process id is meant. */,
    pid integer not null,
    born text not null /* Boot id and start time of the process. */,
    started_at timestamp with time zone not null default clock_timestamp(),
    beat_at timestamp with time zone not null default clock_timestamp(),
    ended_at timestamp with time zone /* The worker has left the run in good order. */,
    constraint run_worker_pkey PRIMARY KEY (run_id)
);

-- Shares of another company that a share paid, as a person tells it; the latest word counts, and a value of 0 takes it back.
create table spin_off (
    instrument_id bigint not null,
    ex_date date not null,
    spun_off text not null,
    value numeric not null /* What they were worth, in the currency of the prices, for one share as it trades on ex_date. */,
    told_by text not null,
    told_at timestamp with time zone not null default clock_timestamp(),
    reason text not null,
    constraint spin_off_is_no_debt CHECK (value >= 0::numeric),
    constraint spin_off_pkey PRIMARY KEY (instrument_id, ex_date, spun_off, told_at)
);

-- old_shares became new_shares before the session ex_date; announced ones included. See split_check.
create table split (
    instrument_id bigint not null,
    ex_date date not null,
    new_shares numeric not null,
    old_shares numeric not null,
    kind text /* The provider's word, such as stock-split; null where it has none. */,
    provider text not null,
    ingest_id bigint not null,
    known_from timestamp with time zone not null,
    constraint split_changes_shares CHECK (new_shares > 0::numeric AND old_shares > 0::numeric AND new_shares <> old_shares),
    constraint split_pkey PRIMARY KEY (instrument_id, ex_date)
);
CREATE INDEX split_by_day ON public.split USING btree (ex_date);

-- What prices say of a split (marketdata.split_checks). With another verdict than confirmed or unproven it adjusts nothing until a person confirms it or a later answer mends it.
create table split_check (
    instrument_id bigint not null,
    ex_date date not null,
    new_shares numeric not null /* The terms that were judged: a split whose terms have changed since is judged anew, confirmed or not. */,
    old_shares numeric not null,
    verdict text not null,
    reason text not null,
    checked_at timestamp with time zone not null,
    first_checked_at timestamp with time zone not null default clock_timestamp() /* When the split was checked first. */,
    confirmed_by text,
    confirmed_at timestamp with time zone,
    confirmed_reason text,
    constraint split_check_confirmation_is_whole CHECK (num_nulls(confirmed_by, confirmed_at, confirmed_reason) = ANY (ARRAY[0, 3])),
    constraint split_check_pkey PRIMARY KEY (instrument_id, ex_date),
    constraint split_check_verdict_is_known CHECK (verdict = ANY (ARRAY['confirmed'::text, 'unproven'::text, 'inverse'::text, 'no_jump'::text, 'mismatch'::text, 'duplicate'::text]))
);
CREATE INDEX split_check_waiting ON public.split_check USING btree (ex_date DESC) WHERE ((verdict <> ALL (ARRAY['confirmed'::text, 'unproven'::text])) AND (confirmed_by IS NULL));
CREATE TRIGGER keep_split_check BEFORE UPDATE ON split_check FOR EACH ROW WHEN (old.* IS DISTINCT FROM new.*) EXECUTE FUNCTION keep_split_check();

-- What stood in split_check until known_to (excluded).
create table split_check_version (
    instrument_id bigint not null,
    ex_date date not null,
    new_shares numeric not null,
    old_shares numeric not null,
    verdict text not null,
    reason text not null,
    checked_at timestamp with time zone not null,
    first_checked_at timestamp with time zone not null,
    confirmed_by text,
    confirmed_at timestamp with time zone,
    confirmed_reason text,
    known_to timestamp with time zone not null,
    constraint split_check_version_pkey PRIMARY KEY (instrument_id, ex_date, known_to)
);

-- Values that were in split from known_from (included) to known_to (excluded).
create table split_version (
    instrument_id bigint not null,
    ex_date date not null,
    new_shares numeric not null,
    old_shares numeric not null,
    kind text,
    provider text not null,
    ingest_id bigint not null,
    known_from timestamp with time zone not null,
    known_to timestamp with time zone not null,
    replaced_by_ingest_id bigint not null,
    constraint split_version_lasted CHECK (known_from < known_to),
    constraint split_version_pkey PRIMARY KEY (instrument_id, ex_date, known_from)
);

-- Size of what only a listing of the bucket can tell, as the weekly upkeep found it.
create table store_size (
    store text not null,
    objects bigint not null,
    bytes bigint not null,
    measured_at timestamp with time zone not null default clock_timestamp(),
    constraint store_size_pkey PRIMARY KEY (store)
);

-- Trades by the venue's own number; Binance's are aggregate trades.
-- hypertable by traded_at, chunks of 7 days
create table trade (
    instrument_id bigint not null,
    provider text not null,
    traded_at timestamp with time zone not null,
    trade_id bigint not null,
    price numeric not null,
    size numeric not null,
    taker_side text not null /* What the active party did. */,
    ingest_id bigint not null,
    known_from timestamp with time zone not null,
    constraint trade_has_a_side CHECK (taker_side = ANY (ARRAY['buy'::text, 'sell'::text])),
    constraint trade_is_of_something CHECK (price > 0::numeric AND size > 0::numeric),
    constraint trade_pkey PRIMARY KEY (instrument_id, provider, traded_at, trade_id)
);
CREATE INDEX trade_traded_at_idx ON public.trade USING btree (traded_at DESC);

-- Values that were in trade from known_from (included) to known_to (excluded).
create table trade_version (
    instrument_id bigint not null,
    provider text not null,
    traded_at timestamp with time zone not null,
    trade_id bigint not null,
    price numeric not null,
    size numeric not null,
    taker_side text not null,
    ingest_id bigint not null,
    known_from timestamp with time zone not null,
    known_to timestamp with time zone not null,
    replaced_by_ingest_id bigint not null,
    constraint trade_version_lasted CHECK (known_from < known_to),
    constraint trade_version_pkey PRIMARY KEY (instrument_id, provider, traded_at, trade_id, known_from)
);

-- The exchange calendar as marketdata.calendars has it, half days and overrides included; kept equal by the refresh of aggregates.
create table trading_session (
    exchange text not null,
    session_date date not null,
    opens_at timestamp with time zone not null,
    closes_at timestamp with time zone not null,
    constraint trading_session_is_of_whole_quarter_hours CHECK (date_bin('00:15:00'::interval, opens_at, '1970-01-01 00:00:00+00'::timestamp with time zone) = opens_at AND date_bin('00:15:00'::interval, closes_at, '1970-01-01 00:00:00+00'::timestamp with time zone) = closes_at),
    constraint trading_session_is_within_its_day CHECK ((opens_at AT TIME ZONE 'UTC'::text)::date = session_date AND (closes_at AT TIME ZONE 'UTC'::text)::date = session_date),
    constraint trading_session_lasts CHECK (opens_at < closes_at),
    constraint trading_session_pkey PRIMARY KEY (exchange, session_date)
);

-- Who belongs to a list such as sp500, and when.
create table universe_member (
    universe text not null,
    instrument_id bigint not null,
    valid daterange not null,
    constraint universe_member_does_not_overlap EXCLUDE USING gist (universe WITH =, instrument_id WITH =, valid WITH &&),
    constraint universe_member_instrument_id_fkey FOREIGN KEY (instrument_id) REFERENCES instrument(instrument_id),
    constraint universe_member_is_some_time CHECK (NOT isempty(valid))
);


-- Legal transitions of dead letters (dead_letter_legal_transition)

-- (new) -> open
-- (new) -> parked
-- open -> retrying
-- open -> parked
-- open -> resolved
-- open -> discarded
-- open -> obsolete
-- retrying -> open
-- retrying -> parked
-- retrying -> resolved
-- retrying -> obsolete
-- parked -> open
-- parked -> retrying
-- parked -> resolved
-- parked -> discarded
-- parked -> obsolete


-- Views

-- As adjusted_bars_5m, fifteen minutes.
create view adjusted_bars_15m as
 SELECT bar.instrument_id,
    bar.provider,
    bar.bucket_start,
    bar.phase,
    bar.open * factor.of_prices AS open,
    bar.high * factor.of_prices AS high,
    bar.low * factor.of_prices AS low,
    bar.close * factor.of_prices AS close,
    bar.volume / factor.of_shares AS volume,
    bar.vwap * factor.of_prices AS vwap,
    bar.trades,
    wanted.adjustment,
    bar.source_bars
   FROM bars_15m bar
     JOIN price_factor own ON own.instrument_id = bar.instrument_id
     CROSS JOIN ( VALUES ('splits'::bar_adjustment), ('splits_and_dividends'::bar_adjustment)) wanted(adjustment)
     CROSS JOIN LATERAL ( SELECT (bar.bucket_start AT TIME ZONE 'America/New_York'::text)::date AS day) traded
     CROSS JOIN LATERAL ( SELECT price_factor_on(own.*, traded.day, wanted.adjustment) AS of_prices,
            price_factor_on(own.*, traded.day, 'splits'::bar_adjustment) AS of_shares) factor;

-- As adjusted_bars_5m, sessions, made of regular minutes.
create view adjusted_bars_1d as
 SELECT bar.instrument_id,
    bar.provider,
    bar.bucket_start,
    bar.open * factor.of_prices AS open,
    bar.high * factor.of_prices AS high,
    bar.low * factor.of_prices AS low,
    bar.close * factor.of_prices AS close,
    bar.volume / factor.of_shares AS volume,
    bar.vwap * factor.of_prices AS vwap,
    bar.trades,
    wanted.adjustment,
    bar.source_bars
   FROM bars_1d bar
     JOIN price_factor own ON own.instrument_id = bar.instrument_id
     CROSS JOIN ( VALUES ('splits'::bar_adjustment), ('splits_and_dividends'::bar_adjustment)) wanted(adjustment)
     CROSS JOIN LATERAL ( SELECT bar.bucket_start AS day) traded
     CROSS JOIN LATERAL ( SELECT price_factor_on(own.*, traded.day, wanted.adjustment) AS of_prices,
            price_factor_on(own.*, traded.day, 'splits'::bar_adjustment) AS of_shares) factor;

-- As adjusted_bars_5m, hours.
create view adjusted_bars_1h as
 SELECT bar.instrument_id,
    bar.provider,
    bar.bucket_start,
    bar.phase,
    bar.open * factor.of_prices AS open,
    bar.high * factor.of_prices AS high,
    bar.low * factor.of_prices AS low,
    bar.close * factor.of_prices AS close,
    bar.volume / factor.of_shares AS volume,
    bar.vwap * factor.of_prices AS vwap,
    bar.trades,
    wanted.adjustment,
    bar.source_bars
   FROM bars_1h bar
     JOIN price_factor own ON own.instrument_id = bar.instrument_id
     CROSS JOIN ( VALUES ('splits'::bar_adjustment), ('splits_and_dividends'::bar_adjustment)) wanted(adjustment)
     CROSS JOIN LATERAL ( SELECT (bar.bucket_start AT TIME ZONE 'America/New_York'::text)::date AS day) traded
     CROSS JOIN LATERAL ( SELECT price_factor_on(own.*, traded.day, wanted.adjustment) AS of_prices,
            price_factor_on(own.*, traded.day, 'splits'::bar_adjustment) AS of_shares) factor;

-- As adjusted_bars_1w, calendar months.
create view adjusted_bars_1mo as
 SELECT instrument_id,
    date_trunc('month'::text, session_date::timestamp without time zone)::date AS bucket_start,
    first(open, session_date) AS open,
    max(high) AS high,
    min(low) AS low,
    last(close, session_date) AS close,
    sum(volume ORDER BY session_date) AS volume,
    NULL::double precision AS vwap,
    adjustment,
    count(*)::integer AS source_bars
   FROM adjusted_daily_bars bar
  GROUP BY instrument_id, (date_trunc('month'::text, session_date::timestamp without time zone)::date), adjustment;

-- As adjusted_bars_1w, calendar quarters.
create view adjusted_bars_1q as
 SELECT instrument_id,
    date_trunc('quarter'::text, bucket_start::timestamp without time zone)::date AS bucket_start,
    first(open, bucket_start) AS open,
    max(high) AS high,
    min(low) AS low,
    last(close, bucket_start) AS close,
    sum(volume ORDER BY bar.bucket_start) AS volume,
    NULL::double precision AS vwap,
    adjustment,
    sum(source_bars)::integer AS source_bars
   FROM adjusted_bars_1mo bar
  GROUP BY instrument_id, (date_trunc('quarter'::text, bucket_start::timestamp without time zone)::date), adjustment;

-- ISO weeks of adjusted_daily_bars: right where a split or a dividend lies within. Choose one adjustment.
create view adjusted_bars_1w as
 SELECT instrument_id,
    date_trunc('week'::text, session_date::timestamp without time zone)::date AS bucket_start,
    first(open, session_date) AS open,
    max(high) AS high,
    min(low) AS low,
    last(close, session_date) AS close,
    sum(volume ORDER BY session_date) AS volume,
    NULL::double precision AS vwap,
    adjustment,
    count(*)::integer AS source_bars
   FROM adjusted_daily_bars bar
  GROUP BY instrument_id, (date_trunc('week'::text, session_date::timestamp without time zone)::date), adjustment;

-- As adjusted_bars_1w, calendar years.
create view adjusted_bars_1y as
 SELECT instrument_id,
    date_trunc('year'::text, bucket_start::timestamp without time zone)::date AS bucket_start,
    first(open, bucket_start) AS open,
    max(high) AS high,
    min(low) AS low,
    last(close, bucket_start) AS close,
    sum(volume ORDER BY bar.bucket_start) AS volume,
    NULL::double precision AS vwap,
    adjustment,
    sum(source_bars)::integer AS source_bars
   FROM adjusted_bars_1q bar
  GROUP BY instrument_id, (date_trunc('year'::text, bucket_start::timestamp without time zone)::date), adjustment;

-- bars_5m of shares times the factors of their day: choose one adjustment. An instrument whose factors were never derived is not in it, nor are pairs.
create view adjusted_bars_5m as
 SELECT bar.instrument_id,
    bar.provider,
    bar.bucket_start,
    bar.phase,
    bar.open * factor.of_prices AS open,
    bar.high * factor.of_prices AS high,
    bar.low * factor.of_prices AS low,
    bar.close * factor.of_prices AS close,
    bar.volume / factor.of_shares AS volume,
    bar.vwap * factor.of_prices AS vwap,
    bar.trades,
    wanted.adjustment,
    bar.source_bars
   FROM bars_5m bar
     JOIN price_factor own ON own.instrument_id = bar.instrument_id
     CROSS JOIN ( VALUES ('splits'::bar_adjustment), ('splits_and_dividends'::bar_adjustment)) wanted(adjustment)
     CROSS JOIN LATERAL ( SELECT (bar.bucket_start AT TIME ZONE 'America/New_York'::text)::date AS day) traded
     CROSS JOIN LATERAL ( SELECT price_factor_on(own.*, traded.day, wanted.adjustment) AS of_prices,
            price_factor_on(own.*, traded.day, 'splits'::bar_adjustment) AS of_shares) factor;

-- Daily bars adjusted for splits, and for splits and dividends: choose one by adjustment. An instrument whose factors were never derived is not in it, nor are bars that came adjusted for dividends.
create view adjusted_daily_bars as
 SELECT bar.instrument_id,
    bar.session_date,
    'splits'::bar_adjustment AS adjustment,
    bar.open * held.split_factor AS open,
    bar.high * held.split_factor AS high,
    bar.low * held.split_factor AS low,
    bar.close * held.split_factor AS close,
    bar.volume / held.split_factor AS volume,
    held.split_factor,
    1::double precision AS dividend_factor
   FROM daily_bar bar
     JOIN price_factor own ON own.instrument_id = bar.instrument_id
     CROSS JOIN LATERAL ( SELECT own.split_factors[width_bucket(bar_shares_of(bar.session_date, bar.adjustment, bar.known_from), own.first_days)] AS split_factor) held
  WHERE bar.adjustment <> 'splits_and_dividends'::bar_adjustment
UNION ALL
 SELECT bar.instrument_id,
    bar.session_date,
    'splits_and_dividends'::bar_adjustment AS adjustment,
    bar.open * (held.split_factor * held.dividend_factor) AS open,
    bar.high * (held.split_factor * held.dividend_factor) AS high,
    bar.low * (held.split_factor * held.dividend_factor) AS low,
    bar.close * (held.split_factor * held.dividend_factor) AS close,
    bar.volume / held.split_factor AS volume,
    held.split_factor,
    held.dividend_factor
   FROM daily_bar bar
     JOIN price_factor own ON own.instrument_id = bar.instrument_id
     CROSS JOIN LATERAL ( SELECT own.split_factors[width_bucket(bar_shares_of(bar.session_date, bar.adjustment, bar.known_from), own.first_days)] AS split_factor,
            own.dividend_factors[width_bucket(bar.session_date, own.first_days)] AS dividend_factor) held
  WHERE bar.adjustment <> 'splits_and_dividends'::bar_adjustment;

-- As bars_5m, fifteen minutes.
create view bars_15m as
 SELECT instrument_id,
    provider,
    bucket_start,
    phase,
    open,
    high,
    low,
    close,
    volume,
    turnover / NULLIF(volume, 0::double precision) AS vwap,
    trades,
    source_bars
   FROM rollup_15m;

-- A session of New York made of its regular minutes and named by its day, or a day of UTC for pairs.
create view bars_1d as
 SELECT instrument_id,
    provider,
    bucket_start,
    open,
    high,
    low,
    close,
    volume,
    turnover / NULLIF(volume, 0::double precision) AS vwap,
    trades,
    source_bars
   FROM rollup_1d;

-- As bars_5m, an hour of the clock; one in which a session begins or ends is two rows, one a phase.
create view bars_1h as
 SELECT instrument_id,
    provider,
    bucket_start,
    phase,
    open,
    high,
    low,
    close,
    volume,
    turnover / NULLIF(volume, 0::double precision) AS vwap,
    trades,
    source_bars
   FROM rollup_1h;

-- As bars_1w, calendar months, named by the first day.
create view bars_1mo as
 SELECT instrument_id,
    bucket_start,
    open,
    high,
    low,
    close,
    volume,
    NULL::double precision AS vwap,
    adjustment,
    source_bars
   FROM rollup_1mo;

-- As bars_1w, calendar quarters, named by the first day.
create view bars_1q as
 SELECT instrument_id,
    bucket_start,
    open,
    high,
    low,
    close,
    volume,
    NULL::double precision AS vwap,
    adjustment,
    source_bars
   FROM rollup_1q;

-- ISO weeks of daily bars, named by the Monday; prices as the days are stored, adjustment null where theirs differ.
create view bars_1w as
 SELECT instrument_id,
    bucket_start,
    open,
    high,
    low,
    close,
    volume,
    NULL::double precision AS vwap,
    adjustment,
    source_bars
   FROM rollup_1w;

-- As bars_1w, calendar years, named by the first day.
create view bars_1y as
 SELECT instrument_id,
    bucket_start,
    open,
    high,
    low,
    close,
    volume,
    NULL::double precision AS vwap,
    adjustment,
    source_bars
   FROM rollup_1y;

-- Five minutes of a share or a pair at one provider, named by the first moment (UTC). phase tells the session of the exchange (regular) from the hours around it (extended); pairs are always regular. vwap and trades are null where a minute does not tell its own; source_bars counts minutes.
create view bars_5m as
 SELECT instrument_id,
    provider,
    bucket_start,
    phase,
    open,
    high,
    low,
    close,
    volume,
    turnover / NULLIF(volume, 0::double precision) AS vwap,
    trades,
    source_bars
   FROM rollup_5m;

-- Daily bars with the ticker as of the session; null where nobody knows which one it was.
create view daily_bars as
 SELECT bar.instrument_id,
    named.ticker,
    bar.session_date,
    bar.open,
    bar.high,
    bar.low,
    bar.close,
    bar.volume,
    bar.adjustment,
    bar.provider,
    bar.known_from
   FROM daily_bar bar
     LEFT JOIN instrument_ticker named ON named.instrument_id = bar.instrument_id AND named.valid @> bar.session_date;

-- One row for each value of a bar that an answer replaced: when, by which answer, and when the bar had ended.
create view restatement as
 SELECT 'daily_bars'::text AS dataset,
    old.instrument_id,
    old.replaced_by_ingest_id,
    old.known_to AS restated_at,
    COALESCE(session.closes_at, ((old.session_date + '16:00:00'::time without time zone) AT TIME ZONE 'America/New_York'::text)) AS ended_at
   FROM daily_bar_version old
     LEFT JOIN trading_session session ON session.exchange = 'XNYS'::text AND session.session_date = old.session_date
UNION ALL
 SELECT
        CASE instrument.kind
            WHEN 'pair'::text THEN 'crypto_bars'::text
            ELSE 'minute_bars'::text
        END AS dataset,
    old.instrument_id,
    old.replaced_by_ingest_id,
    old.known_to AS restated_at,
    old.opened_at + '00:01:00'::interval AS ended_at
   FROM minute_bar_version old
     JOIN instrument ON instrument.instrument_id = old.instrument_id;


-- Functions

-- The rows of balance_sheet that were public at a moment, as they were told then.
CREATE OR REPLACE FUNCTION public.balance_sheets_as_of(at timestamp with time zone)
 RETURNS SETOF balance_sheet
 LANGUAGE sql
 STABLE
BEGIN ATOMIC
 SELECT latest.instrument_id,
     latest.period_type,
     latest.fiscal_date,
     latest.fiscal_period,
     latest.fiscal_year,
     latest.reported_currency,
     latest.filing_date,
     latest.accepted_at,
     latest.cash_and_cash_equivalents,
     latest.short_term_investments,
     latest.net_receivables,
     latest.inventory,
     latest.total_current_assets,
     latest.property_plant_and_equipment,
     latest.goodwill,
     latest.intangible_assets,
     latest.long_term_investments,
     latest.total_assets,
     latest.accounts_payable,
     latest.short_term_debt,
     latest.deferred_revenue,
     latest.total_current_liabilities,
     latest.long_term_debt,
     latest.total_liabilities,
     latest.common_stock,
     latest.retained_earnings,
     latest.accumulated_other_comprehensive_income,
     latest.total_stockholders_equity,
     latest.minority_interest,
     latest.total_equity,
     latest.total_debt,
     latest.net_debt,
     latest.answer,
     latest.provider,
     latest.ingest_id,
     latest.known_from
    FROM ( SELECT DISTINCT ON (dated.instrument_id, dated.period_type, dated.fiscal_date, dated.fiscal_period) dated.instrument_id,
             dated.period_type,
             dated.fiscal_date,
             dated.fiscal_period,
             dated.fiscal_year,
             dated.reported_currency,
             dated.filing_date,
             dated.accepted_at,
             dated.cash_and_cash_equivalents,
             dated.short_term_investments,
             dated.net_receivables,
             dated.inventory,
             dated.total_current_assets,
             dated.property_plant_and_equipment,
             dated.goodwill,
             dated.intangible_assets,
             dated.long_term_investments,
             dated.total_assets,
             dated.accounts_payable,
             dated.short_term_debt,
             dated.deferred_revenue,
             dated.total_current_liabilities,
             dated.long_term_debt,
             dated.total_liabilities,
             dated.common_stock,
             dated.retained_earnings,
             dated.accumulated_other_comprehensive_income,
             dated.total_stockholders_equity,
             dated.minority_interest,
             dated.total_equity,
             dated.total_debt,
             dated.net_debt,
             dated.answer,
             dated.provider,
             dated.ingest_id,
             dated.known_from,
             dated.public_at,
             dated.begins_at
            FROM ( SELECT told.instrument_id,
                     told.period_type,
                     told.fiscal_date,
                     told.fiscal_period,
                     told.fiscal_year,
                     told.reported_currency,
                     told.filing_date,
                     told.accepted_at,
                     told.cash_and_cash_equivalents,
                     told.short_term_investments,
                     told.net_receivables,
                     told.inventory,
                     told.total_current_assets,
                     told.property_plant_and_equipment,
                     told.goodwill,
                     told.intangible_assets,
                     told.long_term_investments,
                     told.total_assets,
                     told.accounts_payable,
                     told.short_term_debt,
                     told.deferred_revenue,
                     told.total_current_liabilities,
                     told.long_term_debt,
                     told.total_liabilities,
                     told.common_stock,
                     told.retained_earnings,
                     told.accumulated_other_comprehensive_income,
                     told.total_stockholders_equity,
                     told.minority_interest,
                     told.total_equity,
                     told.total_debt,
                     told.net_debt,
                     told.answer,
                     told.provider,
                     told.ingest_id,
                     told.known_from,
                     told.public_at,
                         CASE
                             WHEN (told.public_at IS NULL) THEN told.known_from
                             WHEN (row_number() OVER versions = 1) THEN told.public_at
                             WHEN (told.public_at > lag(told.public_at) OVER versions) THEN told.public_at
                             ELSE told.known_from
                         END AS begins_at
                    FROM ( SELECT every.instrument_id,
                             every.period_type,
                             every.fiscal_date,
                             every.fiscal_period,
                             every.fiscal_year,
                             every.reported_currency,
                             every.filing_date,
                             every.accepted_at,
                             every.cash_and_cash_equivalents,
                             every.short_term_investments,
                             every.net_receivables,
                             every.inventory,
                             every.total_current_assets,
                             every.property_plant_and_equipment,
                             every.goodwill,
                             every.intangible_assets,
                             every.long_term_investments,
                             every.total_assets,
                             every.accounts_payable,
                             every.short_term_debt,
                             every.deferred_revenue,
                             every.total_current_liabilities,
                             every.long_term_debt,
                             every.total_liabilities,
                             every.common_stock,
                             every.retained_earnings,
                             every.accumulated_other_comprehensive_income,
                             every.total_stockholders_equity,
                             every.minority_interest,
                             every.total_equity,
                             every.total_debt,
                             every.net_debt,
                             every.answer,
                             every.provider,
                             every.ingest_id,
                             every.known_from,
                             statement_public_at(every.fiscal_date, every.filing_date, every.accepted_at, every.known_from) AS public_at
                            FROM ( SELECT balance_sheet.instrument_id,
                                     balance_sheet.period_type,
                                     balance_sheet.fiscal_date,
                                     balance_sheet.fiscal_period,
                                     balance_sheet.fiscal_year,
                                     balance_sheet.reported_currency,
                                     balance_sheet.filing_date,
                                     balance_sheet.accepted_at,
                                     balance_sheet.cash_and_cash_equivalents,
                                     balance_sheet.short_term_investments,
                                     balance_sheet.net_receivables,
                                     balance_sheet.inventory,
                                     balance_sheet.total_current_assets,
                                     balance_sheet.property_plant_and_equipment,
                                     balance_sheet.goodwill,
                                     balance_sheet.intangible_assets,
                                     balance_sheet.long_term_investments,
                                     balance_sheet.total_assets,
                                     balance_sheet.accounts_payable,
                                     balance_sheet.short_term_debt,
                                     balance_sheet.deferred_revenue,
                                     balance_sheet.total_current_liabilities,
                                     balance_sheet.long_term_debt,
                                     balance_sheet.total_liabilities,
                                     balance_sheet.common_stock,
                                     balance_sheet.retained_earnings,
                                     balance_sheet.accumulated_other_comprehensive_income,
                                     balance_sheet.total_stockholders_equity,
                                     balance_sheet.minority_interest,
                                     balance_sheet.total_equity,
                                     balance_sheet.total_debt,
                                     balance_sheet.net_debt,
                                     balance_sheet.answer,
                                     balance_sheet.provider,
                                     balance_sheet.ingest_id,
                                     balance_sheet.known_from
                                    FROM balance_sheet
                                 UNION ALL
                                  SELECT balance_sheet_version.instrument_id,
                                     balance_sheet_version.period_type,
                                     balance_sheet_version.fiscal_date,
                                     balance_sheet_version.fiscal_period,
                                     balance_sheet_version.fiscal_year,
                                     balance_sheet_version.reported_currency,
                                     balance_sheet_version.filing_date,
                                     balance_sheet_version.accepted_at,
                                     balance_sheet_version.cash_and_cash_equivalents,
                                     balance_sheet_version.short_term_investments,
                                     balance_sheet_version.net_receivables,
                                     balance_sheet_version.inventory,
                                     balance_sheet_version.total_current_assets,
                                     balance_sheet_version.property_plant_and_equipment,
                                     balance_sheet_version.goodwill,
                                     balance_sheet_version.intangible_assets,
                                     balance_sheet_version.long_term_investments,
                                     balance_sheet_version.total_assets,
                                     balance_sheet_version.accounts_payable,
                                     balance_sheet_version.short_term_debt,
                                     balance_sheet_version.deferred_revenue,
                                     balance_sheet_version.total_current_liabilities,
                                     balance_sheet_version.long_term_debt,
                                     balance_sheet_version.total_liabilities,
                                     balance_sheet_version.common_stock,
                                     balance_sheet_version.retained_earnings,
                                     balance_sheet_version.accumulated_other_comprehensive_income,
                                     balance_sheet_version.total_stockholders_equity,
                                     balance_sheet_version.minority_interest,
                                     balance_sheet_version.total_equity,
                                     balance_sheet_version.total_debt,
                                     balance_sheet_version.net_debt,
                                     balance_sheet_version.answer,
                                     balance_sheet_version.provider,
                                     balance_sheet_version.ingest_id,
                                     balance_sheet_version.known_from
                                    FROM balance_sheet_version) every) told
                   WINDOW versions AS (PARTITION BY told.instrument_id, told.period_type, told.fiscal_date, told.fiscal_period ORDER BY told.known_from)) dated
           WHERE (dated.begins_at <= balance_sheets_as_of.at)
           ORDER BY dated.instrument_id, dated.period_type, dated.fiscal_date, dated.fiscal_period, dated.known_from DESC) latest;
END;

-- The day whose shares a bar's prices are for. What a provider adjusts for splits is in the shares of the day on which it came: so no split is adjusted for twice, and one that came later is not forgotten.
CREATE OR REPLACE FUNCTION public.bar_shares_of(session_date date, adjustment bar_adjustment, known_from timestamp with time zone)
 RETURNS date
 LANGUAGE sql
 STABLE PARALLEL SAFE
RETURN CASE adjustment WHEN 'as_traded'::bar_adjustment THEN session_date ELSE GREATEST(session_date, ((known_from AT TIME ZONE 'America/New_York'::text))::date) END;

-- The rows of cash_flow_statement that were public at a moment, as they were told then.
CREATE OR REPLACE FUNCTION public.cash_flow_statements_as_of(at timestamp with time zone)
 RETURNS SETOF cash_flow_statement
 LANGUAGE sql
 STABLE
BEGIN ATOMIC
 SELECT latest.instrument_id,
     latest.period_type,
     latest.fiscal_date,
     latest.fiscal_period,
     latest.fiscal_year,
     latest.reported_currency,
     latest.filing_date,
     latest.accepted_at,
     latest.net_income,
     latest.depreciation_and_amortization,
     latest.stock_based_compensation,
     latest.change_in_working_capital,
     latest.operating_cash_flow,
     latest.capital_expenditure,
     latest.acquisitions,
     latest.investing_cash_flow,
     latest.net_debt_issuance,
     latest.common_stock_issuance,
     latest.common_stock_repurchased,
     latest.dividends_paid,
     latest.financing_cash_flow,
     latest.effect_of_exchange_rates,
     latest.net_change_in_cash,
     latest.cash_at_beginning_of_period,
     latest.cash_at_end_of_period,
     latest.free_cash_flow,
     latest.income_taxes_paid,
     latest.interest_paid,
     latest.answer,
     latest.provider,
     latest.ingest_id,
     latest.known_from
    FROM ( SELECT DISTINCT ON (dated.instrument_id, dated.period_type, dated.fiscal_date, dated.fiscal_period) dated.instrument_id,
             dated.period_type,
             dated.fiscal_date,
             dated.fiscal_period,
             dated.fiscal_year,
             dated.reported_currency,
             dated.filing_date,
             dated.accepted_at,
             dated.net_income,
             dated.depreciation_and_amortization,
             dated.stock_based_compensation,
             dated.change_in_working_capital,
             dated.operating_cash_flow,
             dated.capital_expenditure,
             dated.acquisitions,
             dated.investing_cash_flow,
             dated.net_debt_issuance,
             dated.common_stock_issuance,
             dated.common_stock_repurchased,
             dated.dividends_paid,
             dated.financing_cash_flow,
             dated.effect_of_exchange_rates,
             dated.net_change_in_cash,
             dated.cash_at_beginning_of_period,
             dated.cash_at_end_of_period,
             dated.free_cash_flow,
             dated.income_taxes_paid,
             dated.interest_paid,
             dated.answer,
             dated.provider,
             dated.ingest_id,
             dated.known_from,
             dated.public_at,
             dated.begins_at
            FROM ( SELECT told.instrument_id,
                     told.period_type,
                     told.fiscal_date,
                     told.fiscal_period,
                     told.fiscal_year,
                     told.reported_currency,
                     told.filing_date,
                     told.accepted_at,
                     told.net_income,
                     told.depreciation_and_amortization,
                     told.stock_based_compensation,
                     told.change_in_working_capital,
                     told.operating_cash_flow,
                     told.capital_expenditure,
                     told.acquisitions,
                     told.investing_cash_flow,
                     told.net_debt_issuance,
                     told.common_stock_issuance,
                     told.common_stock_repurchased,
                     told.dividends_paid,
                     told.financing_cash_flow,
                     told.effect_of_exchange_rates,
                     told.net_change_in_cash,
                     told.cash_at_beginning_of_period,
                     told.cash_at_end_of_period,
                     told.free_cash_flow,
                     told.income_taxes_paid,
                     told.interest_paid,
                     told.answer,
                     told.provider,
                     told.ingest_id,
                     told.known_from,
                     told.public_at,
                         CASE
                             WHEN (told.public_at IS NULL) THEN told.known_from
                             WHEN (row_number() OVER versions = 1) THEN told.public_at
                             WHEN (told.public_at > lag(told.public_at) OVER versions) THEN told.public_at
                             ELSE told.known_from
                         END AS begins_at
                    FROM ( SELECT every.instrument_id,
                             every.period_type,
                             every.fiscal_date,
                             every.fiscal_period,
                             every.fiscal_year,
                             every.reported_currency,
                             every.filing_date,
                             every.accepted_at,
                             every.net_income,
                             every.depreciation_and_amortization,
                             every.stock_based_compensation,
                             every.change_in_working_capital,
                             every.operating_cash_flow,
                             every.capital_expenditure,
                             every.acquisitions,
                             every.investing_cash_flow,
                             every.net_debt_issuance,
                             every.common_stock_issuance,
                             every.common_stock_repurchased,
                             every.dividends_paid,
                             every.financing_cash_flow,
                             every.effect_of_exchange_rates,
                             every.net_change_in_cash,
                             every.cash_at_beginning_of_period,
                             every.cash_at_end_of_period,
                             every.free_cash_flow,
                             every.income_taxes_paid,
                             every.interest_paid,
                             every.answer,
                             every.provider,
                             every.ingest_id,
                             every.known_from,
                             statement_public_at(every.fiscal_date, every.filing_date, every.accepted_at, every.known_from) AS public_at
                            FROM ( SELECT cash_flow_statement.instrument_id,
                                     cash_flow_statement.period_type,
                                     cash_flow_statement.fiscal_date,
                                     cash_flow_statement.fiscal_period,
                                     cash_flow_statement.fiscal_year,
                                     cash_flow_statement.reported_currency,
                                     cash_flow_statement.filing_date,
                                     cash_flow_statement.accepted_at,
                                     cash_flow_statement.net_income,
                                     cash_flow_statement.depreciation_and_amortization,
                                     cash_flow_statement.stock_based_compensation,
                                     cash_flow_statement.change_in_working_capital,
                                     cash_flow_statement.operating_cash_flow,
                                     cash_flow_statement.capital_expenditure,
                                     cash_flow_statement.acquisitions,
                                     cash_flow_statement.investing_cash_flow,
                                     cash_flow_statement.net_debt_issuance,
                                     cash_flow_statement.common_stock_issuance,
                                     cash_flow_statement.common_stock_repurchased,
                                     cash_flow_statement.dividends_paid,
                                     cash_flow_statement.financing_cash_flow,
                                     cash_flow_statement.effect_of_exchange_rates,
                                     cash_flow_statement.net_change_in_cash,
                                     cash_flow_statement.cash_at_beginning_of_period,
                                     cash_flow_statement.cash_at_end_of_period,
                                     cash_flow_statement.free_cash_flow,
                                     cash_flow_statement.income_taxes_paid,
                                     cash_flow_statement.interest_paid,
                                     cash_flow_statement.answer,
                                     cash_flow_statement.provider,
                                     cash_flow_statement.ingest_id,
                                     cash_flow_statement.known_from
                                    FROM cash_flow_statement
                                 UNION ALL
                                  SELECT cash_flow_statement_version.instrument_id,
                                     cash_flow_statement_version.period_type,
                                     cash_flow_statement_version.fiscal_date,
                                     cash_flow_statement_version.fiscal_period,
                                     cash_flow_statement_version.fiscal_year,
                                     cash_flow_statement_version.reported_currency,
                                     cash_flow_statement_version.filing_date,
                                     cash_flow_statement_version.accepted_at,
                                     cash_flow_statement_version.net_income,
                                     cash_flow_statement_version.depreciation_and_amortization,
                                     cash_flow_statement_version.stock_based_compensation,
                                     cash_flow_statement_version.change_in_working_capital,
                                     cash_flow_statement_version.operating_cash_flow,
                                     cash_flow_statement_version.capital_expenditure,
                                     cash_flow_statement_version.acquisitions,
                                     cash_flow_statement_version.investing_cash_flow,
                                     cash_flow_statement_version.net_debt_issuance,
                                     cash_flow_statement_version.common_stock_issuance,
                                     cash_flow_statement_version.common_stock_repurchased,
                                     cash_flow_statement_version.dividends_paid,
                                     cash_flow_statement_version.financing_cash_flow,
                                     cash_flow_statement_version.effect_of_exchange_rates,
                                     cash_flow_statement_version.net_change_in_cash,
                                     cash_flow_statement_version.cash_at_beginning_of_period,
                                     cash_flow_statement_version.cash_at_end_of_period,
                                     cash_flow_statement_version.free_cash_flow,
                                     cash_flow_statement_version.income_taxes_paid,
                                     cash_flow_statement_version.interest_paid,
                                     cash_flow_statement_version.answer,
                                     cash_flow_statement_version.provider,
                                     cash_flow_statement_version.ingest_id,
                                     cash_flow_statement_version.known_from
                                    FROM cash_flow_statement_version) every) told
                   WINDOW versions AS (PARTITION BY told.instrument_id, told.period_type, told.fiscal_date, told.fiscal_period ORDER BY told.known_from)) dated
           WHERE (dated.begins_at <= cash_flow_statements_as_of.at)
           ORDER BY dated.instrument_id, dated.period_type, dated.fiscal_date, dated.fiscal_period, dated.known_from DESC) latest;
END;

CREATE OR REPLACE FUNCTION public.chain_audit_row()
 RETURNS trigger
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
begin
    select head.last_id + 1, head.last_hash into strict new.id, new.previous_hash
    from public.audit_head as head for update;
    new.at := clock_timestamp();
    new.canonical := jsonb_build_object(
        'id', new.id,
        'at', to_char(new.at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
        'who', new.who,
        'origin', new.origin,
        'action', new.action,
        'subject', new.subject,
        'details', new.details,
        'previous_hash', encode(new.previous_hash, 'hex')
    )::text;
    new.hash := sha256(convert_to(new.canonical, 'UTF8'));
    update public.audit_head set last_id = new.id, last_hash = new.hash;
    return new;
end
$function$;

CREATE OR REPLACE FUNCTION public.check_and_record_letter()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
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
$function$;

CREATE OR REPLACE FUNCTION public.count_ingest()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
begin
    insert into ingest_total as total values (
        new.dataset, new.provider, pg_backend_pid() % 16,
        (new.outcome = 'loaded')::integer, (new.outcome = 'failed')::integer,
        new.rows_inserted, new.rows_unchanged, new.rows_restated, new.rows_stale,
        new.rows_rejected, new.rows_withdrawn,
        case when new.outcome = 'loaded' then new.finished_at end
    )
    on conflict (dataset, provider, part) do update set
        loaded = total.loaded + excluded.loaded,
        failed = total.failed + excluded.failed,
        rows_inserted = total.rows_inserted + excluded.rows_inserted,
        rows_unchanged = total.rows_unchanged + excluded.rows_unchanged,
        rows_restated = total.rows_restated + excluded.rows_restated,
        rows_stale = total.rows_stale + excluded.rows_stale,
        rows_rejected = total.rows_rejected + excluded.rows_rejected,
        rows_withdrawn = total.rows_withdrawn + excluded.rows_withdrawn,
        latest_loaded_at = greatest(total.latest_loaded_at, excluded.latest_loaded_at);
    return null;
end $function$;

-- A ledger as it is to be read: absences before a proven listing are not_listed, all others provider_empty.
CREATE OR REPLACE FUNCTION public.coverage_by_evidence(of_dataset text, of_provider text, ids bigint[])
 RETURNS TABLE(instrument_id bigint, state coverage_state, sessions datemultirange, asked_at timestamp with time zone)
 LANGUAGE sql
 STABLE
AS $function$
with
own as (
    select coverage.*
    from coverage
    where
        coverage.dataset = of_dataset
        and coverage.provider = of_provider
        and coverage.instrument_id = any(ids)
),

-- The first day on which anybody, under whatever plan, had a bar of the share.
traded as (
    select
        coverage.instrument_id,
        min(lower(coverage.sessions)) as first_day
    from coverage
    where
        coverage.instrument_id = any(ids)
        and coverage.state in ('complete', 'provisional', 'archived')
        and coverage.dataset in ('daily_bars', 'minute_bars')
    group by coverage.instrument_id
),

-- A day of listing is evidence unless a bar from before contradicts it.
listing as (
    select
        company.instrument_id,
        company.listed_on
    from company
    left join traded on traded.instrument_id = company.instrument_id
    where
        company.instrument_id = any(ids)
        and company.listed_on <= coalesce(traded.first_day, 'infinity')
),

absent as (
    select
        own.instrument_id,
        range_agg(own.sessions) as sessions,
        min(own.asked_at) as asked_at,
        case
            when max(listing.listed_on) is null then '{}'::datemultirange
            else datemultirange(daterange(null, max(listing.listed_on)))
        end as unlisted
    from own
    left join listing on listing.instrument_id = own.instrument_id
    where own.state in ('provider_empty', 'not_listed')
    group by own.instrument_id
)

select
    own.instrument_id,
    own.state,
    own.sessions,
    own.asked_at
from own
where own.state not in ('provider_empty', 'not_listed')
union all
select
    absent.instrument_id,
    proven.state,
    proven.sessions,
    absent.asked_at
from absent
cross join lateral (
    values
    ('not_listed'::coverage_state, absent.sessions * absent.unlisted),
    ('provider_empty'::coverage_state, absent.sessions - absent.unlisted)
) as proven (state, sessions)
where not isempty(proven.sessions)
$function$;

-- Make <target>_version, which keeps what is replaced in target or withdrawn from it.
CREATE OR REPLACE FUNCTION public.create_version_table(target regclass)
 RETURNS void
 LANGUAGE plpgsql
AS $function$
declare
    key_columns text;
begin
    select string_agg(
        quote_ident(attribute.attname),
        ', ' order by array_position(key.indkey::smallint[], attribute.attnum)
    )
    into key_columns
    from pg_index as key
    inner join pg_attribute as attribute
        on attribute.attrelid = key.indrelid and attribute.attnum = any(key.indkey)
    where key.indrelid = target and key.indisprimary;

    -- Versions of a key never overlap, since each one's known_to is the known_from of the next.
    execute format(
        $create$
        create table %1$I (
            like %2$s,
            known_to timestamptz not null,
            replaced_by_ingest_id bigint not null,
            primary key (%3$s, known_from),
            constraint %4$I check (known_from < known_to)
        )
        $create$,
        target::text || '_version', target, key_columns, target::text || '_version_lasted'
    );
    execute format(
        'comment on table %I is %L',
        target::text || '_version',
        format(
            'Values that were in %s from known_from (included) to known_to (excluded).', target
        )
    );
end
$function$;

CREATE OR REPLACE FUNCTION public.days_are_dropped(days daterange)
 RETURNS boolean
 LANGUAGE sql
 STABLE
RETURN (EXISTS (SELECT FROM archive_tombstone dropped WHERE ((dropped.restored_at IS NULL) AND (dropped.dataset = 'daily_bars'::text) AND (days_are_dropped.days && dropped.span))));

-- Drop one chunk for a role that may delete its rows, though it does not own the table.
CREATE OR REPLACE FUNCTION public.drop_chunk(chunk regclass)
 RETURNS void
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'public', 'pg_temp'
 SET "TimeZone" TO 'UTC'
AS $function$
declare
    target regclass;
    bound_type regtype;
    starts timestamptz;
    ends timestamptz;
    dropped bigint;
begin
    select
        format('%I.%I', piece.hypertable_schema, piece.hypertable_name)::regclass,
        piece.primary_dimension_type,
        piece.range_start,
        piece.range_end
    into target, bound_type, starts, ends
    from timescaledb_information.chunks as piece
    where
        format('%I.%I', piece.chunk_schema, piece.chunk_name)::regclass = chunk
        and piece.hypertable_schema = 'public';
    if target is null then
        raise exception '% is no chunk of a table of this project', chunk
        using errcode = 'invalid_parameter_value';
    end if;
    -- The one who asks, not the owner as whom this function runs.
    if not has_table_privilege(session_user, target, 'delete') then
        raise exception 'permission denied to drop chunks of %', target
        using errcode = 'insufficient_privilege';
    end if;
    execute format(
        'select count(*) from drop_chunks(%L::regclass, older_than => %L::%s, newer_than => %L::%s)',
        target, ends, bound_type, starts, bound_type
    ) into dropped;
    if dropped <> 1 then
        raise exception '% chunks of % would be dropped, not one', dropped, target
        using errcode = 'invalid_parameter_value';
    end if;
end
$function$;

CREATE OR REPLACE FUNCTION public.end_claim()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
begin
    new.claim := null;
    new.claimed_by := null;
    new.claimed_at := null;
    new.claimed_from := null;
    new.claim_expires_at := null;
    return new;
end
$function$;

-- The rows of financial_ratio that were public at a moment, as they were told then.
CREATE OR REPLACE FUNCTION public.financial_ratios_as_of(at timestamp with time zone)
 RETURNS SETOF financial_ratio
 LANGUAGE sql
 STABLE
BEGIN ATOMIC
 SELECT latest.instrument_id,
     latest.period_type,
     latest.fiscal_date,
     latest.fiscal_period,
     latest.fiscal_year,
     latest.reported_currency,
     latest.gross_profit_margin,
     latest.ebitda_margin,
     latest.operating_profit_margin,
     latest.net_profit_margin,
     latest.receivables_turnover,
     latest.inventory_turnover,
     latest.asset_turnover,
     latest.current_ratio,
     latest.quick_ratio,
     latest.cash_ratio,
     latest.price_to_earnings,
     latest.price_to_book,
     latest.price_to_sales,
     latest.price_to_free_cash_flow,
     latest.debt_to_assets,
     latest.debt_to_equity,
     latest.financial_leverage,
     latest.interest_coverage,
     latest.dividend_payout,
     latest.dividend_yield,
     latest.dividend_per_share,
     latest.revenue_per_share,
     latest.book_value_per_share,
     latest.operating_cash_flow_per_share,
     latest.free_cash_flow_per_share,
     latest.effective_tax_rate,
     latest.enterprise_value_multiple,
     latest.answer,
     latest.provider,
     latest.ingest_id,
     latest.known_from
    FROM ( SELECT DISTINCT ON (dated.instrument_id, dated.period_type, dated.fiscal_date, dated.fiscal_period) dated.instrument_id,
             dated.period_type,
             dated.fiscal_date,
             dated.fiscal_period,
             dated.fiscal_year,
             dated.reported_currency,
             dated.gross_profit_margin,
             dated.ebitda_margin,
             dated.operating_profit_margin,
             dated.net_profit_margin,
             dated.receivables_turnover,
             dated.inventory_turnover,
             dated.asset_turnover,
             dated.current_ratio,
             dated.quick_ratio,
             dated.cash_ratio,
             dated.price_to_earnings,
             dated.price_to_book,
             dated.price_to_sales,
             dated.price_to_free_cash_flow,
             dated.debt_to_assets,
             dated.debt_to_equity,
             dated.financial_leverage,
             dated.interest_coverage,
             dated.dividend_payout,
             dated.dividend_yield,
             dated.dividend_per_share,
             dated.revenue_per_share,
             dated.book_value_per_share,
             dated.operating_cash_flow_per_share,
             dated.free_cash_flow_per_share,
             dated.effective_tax_rate,
             dated.enterprise_value_multiple,
             dated.answer,
             dated.provider,
             dated.ingest_id,
             dated.known_from,
             dated.begins_at
            FROM ( SELECT told.instrument_id,
                     told.period_type,
                     told.fiscal_date,
                     told.fiscal_period,
                     told.fiscal_year,
                     told.reported_currency,
                     told.gross_profit_margin,
                     told.ebitda_margin,
                     told.operating_profit_margin,
                     told.net_profit_margin,
                     told.receivables_turnover,
                     told.inventory_turnover,
                     told.asset_turnover,
                     told.current_ratio,
                     told.quick_ratio,
                     told.cash_ratio,
                     told.price_to_earnings,
                     told.price_to_book,
                     told.price_to_sales,
                     told.price_to_free_cash_flow,
                     told.debt_to_assets,
                     told.debt_to_equity,
                     told.financial_leverage,
                     told.interest_coverage,
                     told.dividend_payout,
                     told.dividend_yield,
                     told.dividend_per_share,
                     told.revenue_per_share,
                     told.book_value_per_share,
                     told.operating_cash_flow_per_share,
                     told.free_cash_flow_per_share,
                     told.effective_tax_rate,
                     told.enterprise_value_multiple,
                     told.answer,
                     told.provider,
                     told.ingest_id,
                     told.known_from,
                         CASE
                             WHEN (row_number() OVER versions = 1) THEN COALESCE(( SELECT statement_public_at(filed.fiscal_date, filed.filing_date, filed.accepted_at, filed.known_from) AS statement_public_at
                                FROM ( SELECT income_statement.instrument_id,
                                         income_statement.period_type,
                                         income_statement.fiscal_date,
                                         income_statement.fiscal_period,
                                         income_statement.filing_date,
                                         income_statement.accepted_at,
                                         income_statement.known_from
                                        FROM income_statement
                                     UNION ALL
                                      SELECT income_statement_version.instrument_id,
                                         income_statement_version.period_type,
                                         income_statement_version.fiscal_date,
                                         income_statement_version.fiscal_period,
                                         income_statement_version.filing_date,
                                         income_statement_version.accepted_at,
                                         income_statement_version.known_from
                                        FROM income_statement_version) filed
                               WHERE ((filed.instrument_id = told.instrument_id) AND (filed.period_type = told.period_type) AND (filed.fiscal_date = told.fiscal_date) AND (filed.fiscal_period = told.fiscal_period))
                               ORDER BY filed.known_from
                              LIMIT 1), told.known_from)
                             ELSE told.known_from
                         END AS begins_at
                    FROM ( SELECT financial_ratio.instrument_id,
                             financial_ratio.period_type,
                             financial_ratio.fiscal_date,
                             financial_ratio.fiscal_period,
                             financial_ratio.fiscal_year,
                             financial_ratio.reported_currency,
                             financial_ratio.gross_profit_margin,
                             financial_ratio.ebitda_margin,
                             financial_ratio.operating_profit_margin,
                             financial_ratio.net_profit_margin,
                             financial_ratio.receivables_turnover,
                             financial_ratio.inventory_turnover,
                             financial_ratio.asset_turnover,
                             financial_ratio.current_ratio,
                             financial_ratio.quick_ratio,
                             financial_ratio.cash_ratio,
                             financial_ratio.price_to_earnings,
                             financial_ratio.price_to_book,
                             financial_ratio.price_to_sales,
                             financial_ratio.price_to_free_cash_flow,
                             financial_ratio.debt_to_assets,
                             financial_ratio.debt_to_equity,
                             financial_ratio.financial_leverage,
                             financial_ratio.interest_coverage,
                             financial_ratio.dividend_payout,
                             financial_ratio.dividend_yield,
                             financial_ratio.dividend_per_share,
                             financial_ratio.revenue_per_share,
                             financial_ratio.book_value_per_share,
                             financial_ratio.operating_cash_flow_per_share,
                             financial_ratio.free_cash_flow_per_share,
                             financial_ratio.effective_tax_rate,
                             financial_ratio.enterprise_value_multiple,
                             financial_ratio.answer,
                             financial_ratio.provider,
                             financial_ratio.ingest_id,
                             financial_ratio.known_from
                            FROM financial_ratio
                         UNION ALL
                          SELECT financial_ratio_version.instrument_id,
                             financial_ratio_version.period_type,
                             financial_ratio_version.fiscal_date,
                             financial_ratio_version.fiscal_period,
                             financial_ratio_version.fiscal_year,
                             financial_ratio_version.reported_currency,
                             financial_ratio_version.gross_profit_margin,
                             financial_ratio_version.ebitda_margin,
                             financial_ratio_version.operating_profit_margin,
                             financial_ratio_version.net_profit_margin,
                             financial_ratio_version.receivables_turnover,
                             financial_ratio_version.inventory_turnover,
                             financial_ratio_version.asset_turnover,
                             financial_ratio_version.current_ratio,
                             financial_ratio_version.quick_ratio,
                             financial_ratio_version.cash_ratio,
                             financial_ratio_version.price_to_earnings,
                             financial_ratio_version.price_to_book,
                             financial_ratio_version.price_to_sales,
                             financial_ratio_version.price_to_free_cash_flow,
                             financial_ratio_version.debt_to_assets,
                             financial_ratio_version.debt_to_equity,
                             financial_ratio_version.financial_leverage,
                             financial_ratio_version.interest_coverage,
                             financial_ratio_version.dividend_payout,
                             financial_ratio_version.dividend_yield,
                             financial_ratio_version.dividend_per_share,
                             financial_ratio_version.revenue_per_share,
                             financial_ratio_version.book_value_per_share,
                             financial_ratio_version.operating_cash_flow_per_share,
                             financial_ratio_version.free_cash_flow_per_share,
                             financial_ratio_version.effective_tax_rate,
                             financial_ratio_version.enterprise_value_multiple,
                             financial_ratio_version.answer,
                             financial_ratio_version.provider,
                             financial_ratio_version.ingest_id,
                             financial_ratio_version.known_from
                            FROM financial_ratio_version) told
                   WINDOW versions AS (PARTITION BY told.instrument_id, told.period_type, told.fiscal_date, told.fiscal_period ORDER BY told.known_from)) dated
           WHERE (dated.begins_at <= financial_ratios_as_of.at)
           ORDER BY dated.instrument_id, dated.period_type, dated.fiscal_date, dated.fiscal_period, dated.known_from DESC) latest;
END;

-- Takes back permits by place (from 1): usage shrinks, a tail with nothing behind is free. A trial goes to the next who asks, with no place also.
CREATE OR REPLACE FUNCTION public.give_back_request_lease(p_lease_id bigint, p_unused integer[])
 RETURNS void
 LANGUAGE plpgsql
AS $function$
declare
    v_lease request_lease;
    v_tail integer;
begin
    select lease.* into v_lease from request_lease as lease where lease.lease_id = p_lease_id;
    if not found then
        return;
    end if;
    perform from request_budget as budget
    where budget.budget = any (v_lease.budgets) order by budget.budget for update;

    -- The tail: every place from v_tail to the end is unused.
    select min(place) into v_tail
    from generate_subscripts(v_lease.slots, 1) as place
    where
        place > all (
            select used from generate_subscripts(v_lease.slots, 1) as used
            where used <> all (p_unused)
        );
    update request_budget as budget
    set next_at = greatest(v_lease.slots[v_tail], budget.paused_until)
    from unnest(v_lease.budgets, v_lease.ends_at) as charged (budget, end_at)
    where v_tail is not null and budget.budget = charged.budget and budget.next_at = charged.end_at;

    update request_usage as usage
    set
        requests = usage.requests - cardinality(p_unused),
        weight = usage.weight - (select sum(v_lease.weights[place]) from unnest(p_unused) as place)
    where
        usage.budget = any (v_lease.budgets)
        and usage.lane = v_lease.lane
        and usage.hour = date_trunc('hour', v_lease.slots[1], 'UTC')
        and cardinality(p_unused) > 0;

    update request_lease as lease
    set
        unused = lease.unused || p_unused,
        released_at = case when v_tail is not null then clock_timestamp() else lease.released_at end
    where lease.lease_id = p_lease_id;

    update circuit_breaker as breaker set retry_at = clock_timestamp()
    where breaker.provider = v_lease.provider and breaker.trial_lease_id = p_lease_id;
end $function$;

-- Whether target has a row of these instruments (and of this provider, where several stand side by side) with dated_by from first_moment to last_moment, or whenever.
CREATE OR REPLACE FUNCTION public.holds_rows(target regclass, given_instrument_ids bigint[], given_provider text, dated_by text, first_moment text, last_moment text)
 RETURNS boolean
 LANGUAGE plpgsql
 SET enable_seqscan TO 'off'
AS $function$
declare
    wanted text := '';
    found boolean;
begin
    if exists (
        select from pg_index as key
        inner join pg_attribute as attribute
            on attribute.attrelid = key.indrelid and attribute.attnum = any(key.indkey)
        where key.indrelid = target and key.indisprimary and attribute.attname = 'provider'
    ) then
        wanted := format(' and held.provider = %L', given_provider);
    end if;
    if first_moment is not null then
        wanted := wanted
            || format(' and held.%I between %L and %L', dated_by, first_moment, last_moment);
    end if;
    execute format(
        $probe$
        select exists (
            select from unnest($1) as wanted (instrument_id)
            cross join lateral (
                select from %s as held
                where held.instrument_id = wanted.instrument_id %s
                limit 1
            ) as any_row
        )
        $probe$,
        target, wanted
    ) into found using given_instrument_ids;
    return found;
end
$function$;

-- The rows of income_statement that were public at a moment, as they were told then.
CREATE OR REPLACE FUNCTION public.income_statements_as_of(at timestamp with time zone)
 RETURNS SETOF income_statement
 LANGUAGE sql
 STABLE
BEGIN ATOMIC
 SELECT latest.instrument_id,
     latest.period_type,
     latest.fiscal_date,
     latest.fiscal_period,
     latest.fiscal_year,
     latest.reported_currency,
     latest.filing_date,
     latest.accepted_at,
     latest.revenue,
     latest.cost_of_revenue,
     latest.gross_profit,
     latest.research_and_development,
     latest.selling_general_and_administrative,
     latest.operating_expenses,
     latest.depreciation_and_amortization,
     latest.operating_income,
     latest.ebitda,
     latest.ebit,
     latest.interest_income,
     latest.interest_expense,
     latest.income_before_tax,
     latest.income_tax_expense,
     latest.net_income_from_continuing_operations,
     latest.net_income,
     latest.eps,
     latest.eps_diluted,
     latest.weighted_average_shares,
     latest.weighted_average_shares_diluted,
     latest.answer,
     latest.provider,
     latest.ingest_id,
     latest.known_from
    FROM ( SELECT DISTINCT ON (dated.instrument_id, dated.period_type, dated.fiscal_date, dated.fiscal_period) dated.instrument_id,
             dated.period_type,
             dated.fiscal_date,
             dated.fiscal_period,
             dated.fiscal_year,
             dated.reported_currency,
             dated.filing_date,
             dated.accepted_at,
             dated.revenue,
             dated.cost_of_revenue,
             dated.gross_profit,
             dated.research_and_development,
             dated.selling_general_and_administrative,
             dated.operating_expenses,
             dated.depreciation_and_amortization,
             dated.operating_income,
             dated.ebitda,
             dated.ebit,
             dated.interest_income,
             dated.interest_expense,
             dated.income_before_tax,
             dated.income_tax_expense,
             dated.net_income_from_continuing_operations,
             dated.net_income,
             dated.eps,
             dated.eps_diluted,
             dated.weighted_average_shares,
             dated.weighted_average_shares_diluted,
             dated.answer,
             dated.provider,
             dated.ingest_id,
             dated.known_from,
             dated.public_at,
             dated.begins_at
            FROM ( SELECT told.instrument_id,
                     told.period_type,
                     told.fiscal_date,
                     told.fiscal_period,
                     told.fiscal_year,
                     told.reported_currency,
                     told.filing_date,
                     told.accepted_at,
                     told.revenue,
                     told.cost_of_revenue,
                     told.gross_profit,
                     told.research_and_development,
                     told.selling_general_and_administrative,
                     told.operating_expenses,
                     told.depreciation_and_amortization,
                     told.operating_income,
                     told.ebitda,
                     told.ebit,
                     told.interest_income,
                     told.interest_expense,
                     told.income_before_tax,
                     told.income_tax_expense,
                     told.net_income_from_continuing_operations,
                     told.net_income,
                     told.eps,
                     told.eps_diluted,
                     told.weighted_average_shares,
                     told.weighted_average_shares_diluted,
                     told.answer,
                     told.provider,
                     told.ingest_id,
                     told.known_from,
                     told.public_at,
                         CASE
                             WHEN (told.public_at IS NULL) THEN told.known_from
                             WHEN (row_number() OVER versions = 1) THEN told.public_at
                             WHEN (told.public_at > lag(told.public_at) OVER versions) THEN told.public_at
                             ELSE told.known_from
                         END AS begins_at
                    FROM ( SELECT every.instrument_id,
                             every.period_type,
                             every.fiscal_date,
                             every.fiscal_period,
                             every.fiscal_year,
                             every.reported_currency,
                             every.filing_date,
                             every.accepted_at,
                             every.revenue,
                             every.cost_of_revenue,
                             every.gross_profit,
                             every.research_and_development,
                             every.selling_general_and_administrative,
                             every.operating_expenses,
                             every.depreciation_and_amortization,
                             every.operating_income,
                             every.ebitda,
                             every.ebit,
                             every.interest_income,
                             every.interest_expense,
                             every.income_before_tax,
                             every.income_tax_expense,
                             every.net_income_from_continuing_operations,
                             every.net_income,
                             every.eps,
                             every.eps_diluted,
                             every.weighted_average_shares,
                             every.weighted_average_shares_diluted,
                             every.answer,
                             every.provider,
                             every.ingest_id,
                             every.known_from,
                             statement_public_at(every.fiscal_date, every.filing_date, every.accepted_at, every.known_from) AS public_at
                            FROM ( SELECT income_statement.instrument_id,
                                     income_statement.period_type,
                                     income_statement.fiscal_date,
                                     income_statement.fiscal_period,
                                     income_statement.fiscal_year,
                                     income_statement.reported_currency,
                                     income_statement.filing_date,
                                     income_statement.accepted_at,
                                     income_statement.revenue,
                                     income_statement.cost_of_revenue,
                                     income_statement.gross_profit,
                                     income_statement.research_and_development,
                                     income_statement.selling_general_and_administrative,
                                     income_statement.operating_expenses,
                                     income_statement.depreciation_and_amortization,
                                     income_statement.operating_income,
                                     income_statement.ebitda,
                                     income_statement.ebit,
                                     income_statement.interest_income,
                                     income_statement.interest_expense,
                                     income_statement.income_before_tax,
                                     income_statement.income_tax_expense,
                                     income_statement.net_income_from_continuing_operations,
                                     income_statement.net_income,
                                     income_statement.eps,
                                     income_statement.eps_diluted,
                                     income_statement.weighted_average_shares,
                                     income_statement.weighted_average_shares_diluted,
                                     income_statement.answer,
                                     income_statement.provider,
                                     income_statement.ingest_id,
                                     income_statement.known_from
                                    FROM income_statement
                                 UNION ALL
                                  SELECT income_statement_version.instrument_id,
                                     income_statement_version.period_type,
                                     income_statement_version.fiscal_date,
                                     income_statement_version.fiscal_period,
                                     income_statement_version.fiscal_year,
                                     income_statement_version.reported_currency,
                                     income_statement_version.filing_date,
                                     income_statement_version.accepted_at,
                                     income_statement_version.revenue,
                                     income_statement_version.cost_of_revenue,
                                     income_statement_version.gross_profit,
                                     income_statement_version.research_and_development,
                                     income_statement_version.selling_general_and_administrative,
                                     income_statement_version.operating_expenses,
                                     income_statement_version.depreciation_and_amortization,
                                     income_statement_version.operating_income,
                                     income_statement_version.ebitda,
                                     income_statement_version.ebit,
                                     income_statement_version.interest_income,
                                     income_statement_version.interest_expense,
                                     income_statement_version.income_before_tax,
                                     income_statement_version.income_tax_expense,
                                     income_statement_version.net_income_from_continuing_operations,
                                     income_statement_version.net_income,
                                     income_statement_version.eps,
                                     income_statement_version.eps_diluted,
                                     income_statement_version.weighted_average_shares,
                                     income_statement_version.weighted_average_shares_diluted,
                                     income_statement_version.answer,
                                     income_statement_version.provider,
                                     income_statement_version.ingest_id,
                                     income_statement_version.known_from
                                    FROM income_statement_version) every) told
                   WINDOW versions AS (PARTITION BY told.instrument_id, told.period_type, told.fiscal_date, told.fiscal_period ORDER BY told.known_from)) dated
           WHERE (dated.begins_at <= income_statements_as_of.at)
           ORDER BY dated.instrument_id, dated.period_type, dated.fiscal_date, dated.fiscal_period, dated.known_from DESC) latest;
END;

CREATE OR REPLACE FUNCTION public.invalidate_daily_bars()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
begin
    -- Days at most a week apart are one span: whatever lies between them belongs to the buckets
    -- of one of the two, so that a year of sessions is one row and no bucket too many. Those of a
    -- calendar week are one anyway, and there are fewer weeks to aggregate.
    insert into daily_bar_invalidation (instrument_id, span)
    select
        joined.instrument_id,
        daterange(lower(joined.span), upper(joined.span) - 6)
    from (
        select
            week.instrument_id,
            unnest(range_agg(daterange(week.first_day, week.last_day + 7))) as span
        from (
            select
                changed.instrument_id,
                date_part('year', changed.session_date) as year,
                (changed.session_date - date '0001-01-01') / 7 as number,
                min(changed.session_date) as first_day,
                max(changed.session_date) as last_day
            from changed
            group by
                changed.instrument_id,
                date_part('year', changed.session_date),
                (changed.session_date - date '0001-01-01') / 7
        ) as week
        group by week.instrument_id, week.year
    ) as joined;
    return null;
end
$function$;

CREATE OR REPLACE FUNCTION public.invalidate_minute_bars()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
begin
    insert into minute_bar_invalidation (instrument_id, provider, span)
    select
        joined.instrument_id,
        joined.provider,
        unnest(joined.spans)
    from (
        select
            touched.instrument_id,
            touched.provider,
            range_agg(
                tstzrange(touched.bucket_start, touched.bucket_start + interval '5 minutes')
            ) as spans
        from (
            select distinct
                changed.instrument_id,
                changed.provider,
                date_bin('5 minutes', changed.opened_at, 'epoch') as bucket_start
            from changed
        ) as touched
        group by
            touched.instrument_id,
            touched.provider,
            date_trunc('month', touched.bucket_start, 'UTC')
    ) as joined;
    return null;
end
$function$;

CREATE OR REPLACE FUNCTION public.keep_split_check()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
begin
    insert into split_check_version select old.*, clock_timestamp();
    return new;
end
$function$;

-- The latest value of each period as published by a moment. Vintages are known to the day only: each counts from the beginning of its day in St. Louis (America/Chicago), some hours before its release. Who must not look ahead asks for the day before. A null value is one that was published as missing; a period without a row was not published.
CREATE OR REPLACE FUNCTION public.macro_as_of(at timestamp with time zone)
 RETURNS TABLE(instrument_id bigint, observed_on date, value numeric, realtime_start date)
 LANGUAGE sql
 STABLE PARALLEL SAFE
AS $function$
    -- Rows of a period never overlap if they are right; should they, the newest one counts.
    select distinct on (held.instrument_id, held.observed_on)
        held.instrument_id,
        held.observed_on,
        held.value,
        held.realtime_start
    from macro_observation as held
    where
        held.realtime_start <= (at at time zone 'America/Chicago')::date
        and held.realtime_end >= (at at time zone 'America/Chicago')::date
    order by held.instrument_id, held.observed_on, held.realtime_start desc
$function$;

-- Tell new, equal and restated rows of staged_rows apart and keep what is replaced in <target>_version. Where names_provider, who said it is part of what is said: another provider's equal row is restated by it.
CREATE OR REPLACE FUNCTION public.merge_staged_rows(target regclass, given_ingest_id bigint, given_loaded_at timestamp with time zone, given_fetched_at timestamp with time zone, given_provider text, names_provider boolean)
 RETURNS TABLE(inserted bigint, restated bigint, stale bigint)
 LANGUAGE plpgsql
AS $function$
declare
    staged_columns text[];
    key_columns text[];
    value_columns text[];
    version regclass := (target::text || '_version')::regclass;
    same_key text;
    bounds text;
    bound text;
    column_name text;
    is_ordered boolean;
    names text;
    held_names text;
    new_names text;
    assignments text;
begin
    select array_agg(attname::text order by attnum)
    into staged_columns
    from pg_attribute
    where attrelid = 'staged_rows'::regclass and attnum > 0 and not attisdropped;

    select array_agg(attribute.attname::text)
    into key_columns
    from pg_index as key
    inner join pg_attribute as attribute
        on attribute.attrelid = key.indrelid and attribute.attnum = any(key.indkey)
    where key.indrelid = target and key.indisprimary;

    select array_agg(name) into value_columns
    from unnest(staged_columns) as staged (name)
    where name <> all(key_columns);

    -- A provider is part of the key where several providers' rows stand side by side.
    select string_agg(
        case when name = 'provider' then format('held.provider = %L', given_provider)
        else format('held.%1$I = given.%1$I', name) end,
        ' and '
    )
    into same_key
    from unnest(key_columns) as key (name);

    -- The batch's own instruments and bounds, as literals, let the planner leave out the rows of
    -- other instruments and other chunks. Instruments one by one, not as a range from the least to
    -- the greatest: TimescaleDB 2.19 fails to update compressed rows by a range of the column that
    -- they are segmented by ("btree index keys must be ordered by attribute").
    select format(' and held.instrument_id = any(%L::bigint[])', array_agg(distinct instrument_id))
    into bounds
    from staged_rows;

    foreach column_name in array key_columns loop
        continue when column_name = 'instrument_id' or column_name <> all(staged_columns);
        select attribute.atttypid in (
            'date'::regtype, 'timestamptz'::regtype, 'bigint'::regtype
        ) into is_ordered
        from pg_attribute as attribute
        where attribute.attrelid = target and attribute.attname = column_name;
        continue when not is_ordered;
        execute format(
            'select format(%1$L, min(%2$I), max(%2$I)) from staged_rows',
            format(' and held.%I between %%L and %%L', column_name),
            column_name
        ) into bound;
        bounds := bounds || bound;
    end loop;

    select
        string_agg(format('%I', name), ', '),
        string_agg(format('held.%I', name), ', '),
        string_agg(format('compared.%I', name), ', ')
    into names, held_names, new_names
    from unnest(staged_columns) as staged (name);

    select string_agg(format('%1$I = compared.%1$I', name), ', ')
    into assignments
    from unnest(value_columns) as value (name);

    return query execute format(
        $merge$
        with
        compared as materialized (
            -- Equal rows end here: they are neither locked nor written, so they cost no WAL.
            select
                given.*,
                held.instrument_id is null as is_new,
                coalesce(origin.fetched_at > %2$L::timestamptz, false) as is_stale,
                greatest(%3$L::timestamptz, held.known_from + interval '1 microsecond') as replaced_at
            from staged_rows as given
            left join %4$s as held on %5$s %6$s
            left join ingest_log as origin on origin.ingest_id = held.ingest_id
            where
                held.instrument_id is null
                or (%7$s) is distinct from (%8$s)
        ),

        kept as (
            insert into %9$s (%10$s, provider, ingest_id, known_from, known_to, replaced_by_ingest_id)
            select %11$s, held.provider, held.ingest_id, held.known_from, given.replaced_at, %1$s
            from compared as given
            inner join %4$s as held on %5$s %6$s
            where not given.is_new and not given.is_stale
        ),

        restated as (
            update %4$s as held
            set %12$s, provider = %13$L, ingest_id = %1$s, known_from = given.replaced_at
            from compared as given
            where %5$s %6$s and not given.is_new and not given.is_stale
        ),

        inserted as (
            insert into %4$s (%10$s, provider, ingest_id, known_from)
            select %14$s, %13$L, %1$s, %3$L::timestamptz
            from compared
            where compared.is_new
        )

        select
            count(*) filter (where compared.is_new),
            count(*) filter (where not compared.is_new and not compared.is_stale),
            count(*) filter (where not compared.is_new and compared.is_stale)
        from compared
        $merge$,
        given_ingest_id, given_fetched_at, given_loaded_at, target, same_key, bounds,
        (select string_agg(format('held.%I', name), ', ') from unnest(value_columns) as value (name))
        || case when names_provider then ', held.provider' else '' end,
        (select string_agg(format('given.%I', name), ', ') from unnest(value_columns) as value (name))
        || case when names_provider then format(', %L', given_provider) else '' end,
        version, names, held_names,
        replace(assignments, 'compared.', 'given.'), given_provider, new_names
    );
end
$function$;

CREATE OR REPLACE FUNCTION public.minutes_are_dropped(kind text, moments tstzrange)
 RETURNS boolean
 LANGUAGE sql
 STABLE
RETURN (EXISTS (SELECT FROM archive_tombstone dropped WHERE ((dropped.restored_at IS NULL) AND (dropped.dataset = CASE minutes_are_dropped.kind WHEN 'pair'::text THEN 'crypto_bars'::text ELSE 'minute_bars'::text END) AND (minutes_are_dropped.moments && tstzrange(((lower(dropped.span))::timestamp without time zone AT TIME ZONE 'UTC'::text), ((upper(dropped.span))::timestamp without time zone AT TIME ZONE 'UTC'::text))))));

-- What as-traded prices of a day are multiplied with, by the adjustment that is wanted.
CREATE OR REPLACE FUNCTION public.price_factor_on(own price_factor, day date, wanted bar_adjustment)
 RETURNS double precision
 LANGUAGE sql
 IMMUTABLE PARALLEL SAFE
RETURN ((own).split_factors[width_bucket(day, (own).first_days)] * CASE wanted WHEN 'splits_and_dividends'::bar_adjustment THEN (own).dividend_factors[width_bucket(day, (own).first_days)] ELSE (1)::double precision END);

CREATE OR REPLACE FUNCTION public.record_breaker_transition()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
begin
    new.changed_at := clock_timestamp();
    insert into circuit_breaker_transition (
        provider, changed_at, from_state, to_state, failures, last_error_class
    ) values (
        new.provider, new.changed_at, old.state, new.state, new.failures, new.last_error_class
    );
    return new;
end $function$;

-- Adds up times of requests, and notes what their budgets are held to where that has changed.
CREATE OR REPLACE FUNCTION public.record_requests(p_provider text, p_charges jsonb, p_timings jsonb)
 RETURNS void
 LANGUAGE plpgsql
AS $function$
begin
    insert into request_limit (budget, provider, bounds)
    select charge.budget, p_provider, charge.bounds
    from jsonb_to_recordset(p_charges) as charge (budget text, bounds jsonb)
    where not exists (
        select from request_limit as known
        where
            known.budget = charge.budget
            and known.provider = p_provider
            and known.bounds = charge.bounds
    )
    order by charge.budget
    on conflict (budget) do update
    set provider = excluded.provider, bounds = excluded.bounds;

    -- One order for all keeps processes from deadlocking.
    insert into request_timing as known (
        timed, provider, outcome, error_class, requests, seconds, buckets
    )
    select
        timing.timed, timing.provider, timing.outcome, timing.error_class, timing.requests,
        timing.seconds, timing.buckets
    from jsonb_to_recordset(p_timings) as timing (
        timed text, provider text, outcome text, error_class text, requests bigint,
        seconds double precision, buckets bigint []
    )
    order by timing.timed, timing.provider, timing.outcome, timing.error_class
    on conflict (timed, provider, outcome, error_class) do update
    set
        requests = known.requests + excluded.requests,
        seconds = known.seconds + excluded.seconds,
        buckets = (
            select array_agg(pair.before + pair.more order by pair.place)
            from unnest(known.buckets, excluded.buckets)
                with ordinality as pair (before, more, place)
        );
end $function$;

CREATE OR REPLACE FUNCTION public.refuse_to_alter_audit()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
begin
    raise exception '% of % is refused: the audit log is only added to', tg_op, tg_table_name
    using errcode = 'insufficient_privilege';
end
$function$;

CREATE OR REPLACE FUNCTION public.refuse_to_forget_letters()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
begin
    raise exception '% of % is refused: the history of dead letters is kept', tg_op, tg_table_name
    using errcode = 'check_violation';
end
$function$;

-- When a filing became public, never before its filing date (New York) nor on the day on which its period ends; null where only impossible times are given, or none.
CREATE OR REPLACE FUNCTION public.statement_public_at(fiscal_date date, filing_date date, accepted_at timestamp with time zone, known_from timestamp with time zone)
 RETURNS timestamp with time zone
 LANGUAGE sql
 STABLE PARALLEL SAFE
RETURN CASE WHEN (((accepted_at AT TIME ZONE 'America/New_York'::text))::date > fiscal_date) THEN GREATEST(accepted_at, ((filing_date + '06:00:00'::time without time zone) AT TIME ZONE 'America/New_York'::text)) WHEN (filing_date > fiscal_date) THEN LEAST((((filing_date + 1))::timestamp without time zone AT TIME ZONE 'America/New_York'::text), GREATEST(known_from, ((filing_date)::timestamp without time zone AT TIME ZONE 'America/New_York'::text))) ELSE NULL::timestamp with time zone END;

-- Grants dispatch times, or says why not: budgets, lanes, quotas and breaker at once.
CREATE OR REPLACE FUNCTION public.take_request_lease(p_provider text, p_charges jsonb, p_weights integer[], p_lane request_lane, p_horizon_s double precision, p_tolerance_s double precision, p_trial_expires_s double precision, p_host text, p_pid integer, p_run_id text, OUT lease_id bigint, OUT slots_s double precision[], OUT decided_after_s double precision, OUT trial boolean, OUT failures integer, OUT refusal text, OUT retry_after_s double precision, OUT detail text)
 RETURNS record
 LANGUAGE plpgsql
AS $function$
declare
    -- Asking again a little later than a slot opens brings several permits at once.
    c_gather_s constant double precision := 0.2;
    -- While a scheduled run is at work a backfill takes only slots that would soon be lost, one
    -- interval ahead, or what a process that asks every c_gather_s needs.
    c_scheduled_for constant interval := '5 seconds';
    c_yielding_s constant double precision := 0.25;
    -- Who asks while a trial is under way waits for its outcome: work that was put off now would
    -- be put off again, each time, by the first of its own requests.
    c_trial_asked_s constant double precision := 0.5;
    v_horizon_s double precision := p_horizon_s;
    v_budgets text[];
    v_known integer;
    v_breaker circuit_breaker;
    v_now timestamptz := clock_timestamp();
    v_start timestamptz;
    v_free timestamptz;
    v_widest double precision;
    v_narrowest double precision;
    v_wait_s double precision;
    v_quota record;
    v_left bigint := 9223372036854775807;
    v_quota_left bigint;
    v_period_begin timestamptz;
    v_period_end timestamptz;
    v_slots timestamptz[];
    v_weights integer[];
    v_last_slot timestamptz;
    v_last_weight integer;
begin
    trial := false;
    failures := 0;
    select
        array_agg(charge.budget order by charge.budget),
        max(charge.interval_s), min(charge.interval_s)
    into v_budgets, v_widest, v_narrowest
    from jsonb_to_recordset(p_charges) as charge (budget text, interval_s double precision);

    -- First a look without locks: a refusal then costs no write and no wait for the disk.
    select breaker.* into v_breaker
    from circuit_breaker as breaker where breaker.provider = p_provider;
    if v_breaker.retry_at > v_now then
        failures := v_breaker.failures;
        if v_breaker.state = 'half_open' then
            refusal := 'later';
            retry_after_s := least(
                c_trial_asked_s, extract(epoch from v_breaker.retry_at - v_now)
            );
            return;
        end if;
        refusal := 'circuit_open';
        retry_after_s := extract(epoch from v_breaker.retry_at - v_now);
        detail := v_breaker.last_error_class || ': ' || v_breaker.last_error;
        return;
    end if;
    select
        extract(epoch from max(budget.next_at) - v_now),
        case
            when p_lane = 'backfill' and max(budget.scheduled_until) > v_now
                then least(p_horizon_s, greatest(v_widest, c_yielding_s))
            else p_horizon_s
        end
    into v_wait_s, v_horizon_s
    from request_budget as budget where budget.budget = any (v_budgets);
    v_wait_s := v_wait_s - v_horizon_s;
    if v_wait_s > 0 then
        refusal := 'later';
        retry_after_s := v_wait_s + c_gather_s;
        return;
    end if;

    -- One order for all keeps processes that charge several budgets from deadlocking.
    perform from request_budget as budget
    where budget.budget = any (v_budgets) order by budget.budget for update;
    get diagnostics v_known = row_count;
    if v_known < cardinality(v_budgets) then
        insert into request_budget (budget, next_at, interval_s)
        select charge.budget, v_now, charge.interval_s
        from jsonb_to_recordset(p_charges) as charge (budget text, interval_s double precision)
        order by charge.budget
        on conflict do nothing;
        perform from request_budget as budget
        where budget.budget = any (v_budgets) order by budget.budget for update;
    end if;
    if v_breaker.state <> 'closed' then
        select breaker.* into v_breaker
        from circuit_breaker as breaker where breaker.provider = p_provider for update;
    end if;
    v_now := clock_timestamp();
    decided_after_s := extract(epoch from v_now - statement_timestamp());

    failures := coalesce(v_breaker.failures, 0);
    if v_breaker.retry_at > v_now then
        failures := v_breaker.failures;
        if v_breaker.state = 'half_open' then
            refusal := 'later';
            retry_after_s := least(
                c_trial_asked_s, extract(epoch from v_breaker.retry_at - v_now)
            );
            return;
        end if;
        refusal := 'circuit_open';
        retry_after_s := extract(epoch from v_breaker.retry_at - v_now);
        detail := v_breaker.last_error_class || ': ' || v_breaker.last_error;
        return;
    end if;
    trial := coalesce(v_breaker.state, 'closed') <> 'closed';

    select
        greatest(v_now, max(budget.next_at)),
        greatest(v_now, (array_agg(budget.next_at order by charge.interval_s))[1])
    into v_start, v_free
    from
        request_budget as budget
        join jsonb_to_recordset(p_charges) as charge (budget text, interval_s double precision)
            on budget.budget = charge.budget;
    v_wait_s := extract(epoch from v_start - v_now) - v_horizon_s;
    if v_wait_s > 0 then
        refusal := 'later';
        retry_after_s := v_wait_s + c_gather_s;
        return;
    end if;
    -- A rare budget (bulk) that is not free yet must not reserve a far slot of a busy one: all
    -- slots before it would idle.
    v_wait_s := extract(epoch from v_start - v_free) - v_narrowest;
    if v_wait_s > 0 then
        refusal := 'later';
        retry_after_s := v_wait_s;
        return;
    end if;

    for v_quota in
        select charge.budget, quota."limit", quota.period, quota.zone
        from
            jsonb_to_recordset(p_charges) as charge (budget text, quotas jsonb)
            cross join lateral jsonb_to_recordset(charge.quotas)
                as quota ("limit" bigint, period text, zone text)
    loop
        v_period_begin := date_trunc(v_quota.period, v_start, v_quota.zone);
        v_period_end := (
            v_period_begin at time zone v_quota.zone + ('1 ' || v_quota.period)::interval
        ) at time zone v_quota.zone;
        -- In a zone with half hours the hour in which the period begins counts as a whole.
        select v_quota."limit" - coalesce(sum(usage.weight), 0) into v_quota_left
        from request_usage as usage
        where usage.budget = v_quota.budget and usage.hour > v_period_begin - interval '1 hour';
        if v_quota_left < p_weights[1] then
            refusal := 'quota_spent';
            retry_after_s := extract(epoch from v_period_end - v_now);
            detail := format(
                'the quota of %s a %s (%s) of budget %s is used up until %s UTC',
                v_quota."limit", v_quota.period, v_quota.zone, v_quota.budget,
                to_char(v_period_end at time zone 'UTC', 'YYYY-MM-DD HH24:MI')
            );
            return;
        end if;
        v_left := least(v_left, v_quota_left);
    end loop;

    -- All permits of a lease lie in one hour, so that they count in one period of each quota.
    select
        array_agg(permit.slot_at order by permit.place),
        array_agg(permit.weight order by permit.place)
    into v_slots, v_weights
    from (
        select
            wish.place, wish.weight, wish.total,
            v_start + make_interval(secs => v_widest * (wish.total - wish.weight)) as slot_at
        from (
            select given.place, given.weight, sum(given.weight) over (order by given.place) as total
            from unnest(p_weights) with ordinality as given (weight, place)
        ) as wish
    ) as permit
    where
        permit.total <= v_left
        and (
            permit.place = 1
            or not trial
            and permit.slot_at <= v_now + make_interval(secs => v_horizon_s)
            and date_trunc('hour', permit.slot_at, 'UTC') = date_trunc('hour', v_start, 'UTC')
        );
    v_last_slot := v_slots[cardinality(v_slots)];
    v_last_weight := v_weights[cardinality(v_weights)];

    update request_budget as budget
    set
        next_at = v_last_slot + make_interval(secs => v_last_weight * charge.interval_s),
        interval_s = charge.interval_s,
        scheduled_until = case
            when p_lane = 'scheduled' then v_now + c_scheduled_for else budget.scheduled_until
        end
    from jsonb_to_recordset(p_charges) as charge (budget text, interval_s double precision)
    where budget.budget = charge.budget;

    insert into request_lease as lease (
        provider, budgets, lane, host, pid, run_id, weights, slots, ends_at, granted_at, expires_at
    )
    select
        p_provider, v_budgets, p_lane, p_host, p_pid, p_run_id, v_weights, v_slots,
        array_agg(budget.next_at order by budget.budget), v_now,
        v_last_slot + make_interval(secs => p_tolerance_s)
    from request_budget as budget where budget.budget = any (v_budgets)
    returning lease.lease_id into take_request_lease.lease_id;

    insert into request_usage as usage (budget, hour, lane, requests, weight)
    select
        charged.budget, date_trunc('hour', v_start, 'UTC'), p_lane, cardinality(v_weights),
        (select sum(given.weight) from unnest(v_weights) as given (weight))
    from unnest(v_budgets) as charged (budget)
    on conflict (budget, hour, lane) do update
    set requests = usage.requests + excluded.requests, weight = usage.weight + excluded.weight;

    if trial then
        update circuit_breaker as breaker
        set
            state = 'half_open', trial_lease_id = take_request_lease.lease_id,
            retry_at = v_last_slot + make_interval(secs => p_trial_expires_s)
        where breaker.provider = p_provider;
    end if;

    delete from request_lease as old where old.lease_id in (
        select lease.lease_id from request_lease as lease
        where lease.expires_at < v_now - interval '10 minutes'
        order by lease.expires_at limit 8 for update skip locked
    );

    select array_agg(extract(epoch from given.slot_at - v_now) order by given.place) into slots_s
    from unnest(v_slots) with ordinality as given (slot_at, place);
end $function$;

-- Move rows of one instrument that staged_rows lacks to <target>_version: the provider has withdrawn or moved them.
CREATE OR REPLACE FUNCTION public.withdraw_missing_rows(target regclass, given_instrument_id bigint, given_ingest_id bigint, given_loaded_at timestamp with time zone)
 RETURNS bigint
 LANGUAGE plpgsql
AS $function$
declare
    names text;
    same_key text;
    withdrawn bigint;
    staged bigint;
begin
    select string_agg(format('%I', attribute.attname), ', ' order by attribute.attnum)
    into names
    from pg_attribute as attribute
    where attribute.attrelid = target and attribute.attnum > 0 and not attribute.attisdropped;

    select string_agg(format('given.%1$I = held.%1$I', attribute.attname), ' and ')
    into same_key
    from pg_index as key
    inner join pg_attribute as attribute
        on attribute.attrelid = key.indrelid and attribute.attnum = any(key.indkey)
    where key.indrelid = target and key.indisprimary;

    execute format(
        $withdraw$
        with gone as (
            delete from %1$s as held
            where
                held.instrument_id = %2$s
                and not exists (select from staged_rows as given where %3$s)
            returning held.*
        )

        insert into %4$s (%5$s, known_to, replaced_by_ingest_id)
        select %5$s, greatest(%6$L::timestamptz, gone.known_from + interval '1 microsecond'), %7$s
        from gone
        $withdraw$,
        target, given_instrument_id, same_key, (target::text || '_version')::regclass, names,
        given_loaded_at, given_ingest_id
    );
    get diagnostics withdrawn = row_count;
    select count(*) into staged from staged_rows;
    -- A provider corrects a row or two; one that has lost most of them is ill.
    if withdrawn > greatest(staged, 1) then
        raise exception 'the answer has % rows and lacks % that are stored', staged, withdrawn
        using errcode = 'check_violation', hint = 'look at the provider''s answer; nothing was changed';
    end if;
    return withdrawn;
end
$function$;
