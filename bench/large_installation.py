"""A database as large as a large installation's, filled by SQL in a minute.

Here: instruments, ledgers, logs, letters, chunks, proofs, budgets and runs at that size. Not here:
the rows of bars themselves, a hundred million of which would take an hour: each chunk that they
would have is there, with a row in it.
"""

import psycopg
from dagster_postgres import PostgresRunStorage

FILL = {
    "instruments": """
        insert into instrument (name)
        select 'T' || number from generate_series(1, %(tickers)s) as number;
        insert into instrument_ticker (instrument_id, ticker, valid)
        select instrument_id, name, daterange(null, null) from instrument;
        insert into universe_member (universe, instrument_id, valid)
        select 'sp500', instrument_id, daterange(null, null) from instrument;
        insert into company (
            instrument_id, name, listed_on, answer, provider, ingest_id, known_from
        )
        select
            instrument_id, name,
            case when instrument_id %% 4 = 0 then date '2019-01-02' end, '{}', 'fmp', 1, now()
        from instrument;
    """,
    "coverage": """
        insert into coverage (dataset, provider, instrument_id, state, sessions)
        select
            served.dataset, served.provider, instrument_id, known.state::coverage_state,
            known.days
        from instrument
        cross join (values
            ('daily_bars', 'fmp'), ('daily_bars', 'polygon'), ('minute_bars', 'polygon')
        ) as served (dataset, provider)
        cross join lateral (values
            (
                'complete', case when instrument_id %% 4 = 0
                then datemultirange(daterange('2019-01-02', current_date - 5))
                else datemultirange(
                    daterange('2016-01-04', '2020-03-02'), daterange('2020-03-04', current_date - 5)
                ) end
            ),
            ('provisional', datemultirange(daterange(current_date - 5, current_date))),
            ('failed', datemultirange(daterange('2020-03-02', '2020-03-04'))),
            (
                'provider_empty', case when instrument_id %% 4 = 0
                then datemultirange(daterange('2016-01-04', '2019-01-02'))
                else datemultirange(daterange('2015-01-02', '2016-01-04')) end
            )
        ) as known (state, days);
        insert into coverage (dataset, provider, instrument_id, state, sessions)
        select served.dataset, 'fmp', instrument_id, 'complete',
            datemultirange(daterange('2016-01-04', current_date - (instrument_id %% 9)::integer))
        from instrument
        cross join (values
            ('income_statements'), ('balance_sheets'), ('cash_flows'), ('ratios'), ('companies'),
            ('splits'), ('dividends')
        ) as served (dataset);
    """,
    "ingest log": """
        insert into ingest_log (
            dataset, provider, request, run_id, instrument_id, fetched_at, outcome, rows_inserted
        )
        select
            served.dataset, served.provider, 'GET /something/like/this?symbol=T' || number,
            'run ' || number / 500, 1 + number %% %(tickers)s, now(), 'loaded', 100
        from generate_series(1, %(log)s) as number
        inner join (values
            (0, 'daily_bars', 'fmp'), (1, 'minute_bars', 'polygon'), (2, 'ratios', 'fmp'),
            (3, 'daily_bars', 'polygon'), (4, 'income_statements', 'fmp'),
            (5, 'balance_sheets', 'fmp'), (6, 'cash_flows', 'fmp'), (7, 'companies', 'fmp'),
            (8, 'splits', 'fmp'), (9, 'dividends', 'fmp')
        ) as served (place, dataset, provider) on served.place = number %% 10;
        insert into ingest_total
        select
            dataset, provider, part.number, count(*), 0, sum(rows_inserted), 0, 0, 0, 0, 0,
            max(finished_at)
        from ingest_log cross join generate_series(0, 15) as part (number)
        group by dataset, provider, part.number;
    """,
    "loaded days": """
        insert into loaded_day (dataset, provider, instrument_id, day, rows)
        select 'minute_bars', 'polygon', instrument_id, current_date - day.back, 700
        from instrument cross join generate_series(1, 250) as day (back);
    """,
    "dead letters": """
        insert into dead_letter (
            fingerprint, dataset, provider, work, subject, instrument_id, state, reason,
            error_class, message, request, run_id, first_seen_at, last_seen_at, next_attempt_at
        )
        select
            lpad(to_hex(number), 64, '0'), 'minute_bars', 'polygon', 'instrument', 'T' || number,
            1 + number %% %(tickers)s,
            case when number %% 10 = 0 then 'open' when number %% 10 = 1 then 'parked'
            else 'resolved' end::letter_state,
            'as it was told', 'MalformedResponseError', repeat('what was wrong with it ', 5),
            'GET /something', 'run ' || number, now(), now(),
            case when number %% 10 = 0 then now() end
        from generate_series(1, 50000) as number;
    """,
    "chunks": """
        insert into minute_bar
        select 1, 'polygon', at, 1, 1, 1, 1, 1, null, null, 1, now()
        from generate_series(now() - interval '10 years', now(), interval '7 days') as at;
        insert into trade
        select 1, 'binance', at, 1, 1, 1, 'buy', 1, now()
        from generate_series(now() - interval '5 years', now(), interval '7 days') as at;
        insert into daily_bar
        select
            instrument_id, current_date - day.back, 1, 1, 1, 1, 1, 'as_traded', 'fmp', 1, now()
        from instrument cross join generate_series(1, 3650, 50) as day (back);
    """,
    "archive": """
        insert into archive_log (
            dataset, period, span, files, bounds, rows, bytes, content_digest, column_sha256,
            schema_fingerprint, snapshot_id, code_version
        )
        select
            named.dataset, to_char(month.begins, 'YYYY-MM'),
            daterange(month.begins::date, (month.begins + interval '1 month')::date), '[]', '{}',
            1, 1, '', '{}', '', 1, ''
        from (values ('minute_bars'), ('crypto_bars'), ('crypto_trades'), ('daily_bars'))
            as named (dataset)
        cross join generate_series(
            date_trunc('month', now()) - interval '120 months',
            date_trunc('month', now()) - interval '2 months', interval '1 month'
        ) as month (begins);
    """,
    "budgets": """
        insert into request_budget (budget, next_at, interval_s)
        select 'budget ' || number, now(), 0.5 from generate_series(1, 10) as number;
        insert into request_limit (budget, provider, bounds)
        select
            'budget ' || number, 'provider ' || number,
            '[{"period": "minute", "weight": 120, "window_s": 60},
            {"period": "day", "weight": 1000, "zone": "America/New_York"}]'
        from generate_series(1, 10) as number;
        insert into request_usage
        select 'budget ' || number, hour, 'backfill', 7000, 7000
        from generate_series(1, 10) as number
        cross join generate_series(
            date_trunc('hour', now()) - interval '400 days', now(), interval '1 hour'
        ) as hour;
        insert into request_lease (
            provider, budgets, lane, host, pid, weights, slots, ends_at, granted_at, expires_at
        )
        select
            'provider', array['budget ' || 1 + number %% 10], 'backfill', 'here', 1,
            array[1, 1, 1, 1], array[now(), now(), now(), now()], array[now()], now(),
            now() - make_interval(secs => number)
        from generate_series(1, 1200) as number;
        insert into request_timing
        select
            'request', 'provider ' || provider, 'error', 'Error' || error, 1, 1,
            array[1, 1, 1, 1, 1, 1, 1, 1, 1, 1]
        from generate_series(1, 7) as provider cross join generate_series(1, 8) as error;
    """,
}
"""What fills the tables, in this order."""

FILL_DAGSTER = """
    insert into runs (run_id, status, run_body, create_timestamp, update_timestamp)
    select
        'run ' || number,
        case when number < 40 then 'STARTED' when number < 200 then 'QUEUED'
        else 'SUCCESS' end,
        repeat('the body of a run ', 100), now() at time zone 'UTC' - make_interval(mins => number),
        now() at time zone 'UTC' - make_interval(mins => number)
    from generate_series(1, 50000) as number;
    insert into daemon_heartbeats (daemon_type, timestamp)
    select 'DAEMON ' || number, now() at time zone 'UTC' from generate_series(1, 6) as number;
"""


def fill(url: str, dagster_url: str, tickers: int, log: int) -> None:
    """Fill the tables; triggers of the log and of letters stay out: they would take an hour."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("alter table ingest_log disable trigger user")
        connection.execute("alter table dead_letter disable trigger user")
        for name, statements in FILL.items():
            print(f"filling: {name}", flush=True)
            for statement in statements.split(";\n"):
                if statement.strip():
                    # Literals, since a statement with parameters of another one would be refused.
                    text = statement.replace("%(tickers)s", str(tickers))
                    text = text.replace("%(log)s", str(log)).replace("%%", "%")
                    connection.execute(text.encode())
        connection.execute("alter table ingest_log enable trigger user")
        connection.execute("create table uncounted_log (like ingest_log including all)")
        connection.execute("vacuum analyze")
    PostgresRunStorage.create_clean_storage(dagster_url)
    with psycopg.connect(dagster_url, autocommit=True) as connection:
        connection.execute(FILL_DAGSTER)
        connection.execute("analyze")
