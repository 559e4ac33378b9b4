-- Trades of crypto pairs, by the convention of 0003.

create table trade (
    instrument_id bigint not null,
    provider text not null,
    traded_at timestamptz not null,
    trade_id bigint not null,
    price numeric not null,
    size numeric not null,
    taker_side text not null,
    ingest_id bigint not null,
    known_from timestamptz not null,
    -- Serves one pair's trades in order, and the loader's comparison.
    primary key (instrument_id, provider, traded_at, trade_id),
    constraint trade_is_of_something check (price > 0 and size > 0),
    constraint trade_has_a_side check (taker_side in ('buy', 'sell'))
);
comment on table trade is 'Trades by the venue''s own number; Binance''s are aggregate trades.';
comment on column trade.taker_side is 'What the active party did.';
select create_hypertable('trade', by_range('traded_at', interval '7 days'));
select create_version_table('trade');
