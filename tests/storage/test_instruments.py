"""Instruments, tickers and universes on a real database."""

from datetime import date, timedelta

import psycopg
import pytest

from marketdata.instruments import (
    Constituent,
    EventKind,
    Member,
    PastSymbols,
    Rename,
    SymbolSpan,
    UniverseChange,
    universe_change,
)
from marketdata.recovery import errors
from resources.storage.instruments import InstrumentStore
from resources.storage.timescale import Timescale
from tests.storage.conftest import JOINED_ON, UNIVERSE

LATER = date(2023, 5, 1)
LATEST = date(2024, 5, 1)


def listed(*names: tuple[str, str]) -> list[Constituent]:
    """Return constituents from pairs of ticker and CIK."""
    return [
        Constituent(ticker=ticker, name=ticker, cik=cik, sector="Tech") for ticker, cik in names
    ]


def follow(store: InstrumentStore, constituents: list[Constituent], on: date) -> UniverseChange:
    """Bring the universe in step with a list, as the universe asset does."""
    change = universe_change(store.members(UNIVERSE), constituents)
    store.apply(change, on, UNIVERSE)
    return change


def memberships(timescale: Timescale) -> list[tuple[int, date, date | None]]:
    """Return instrument, first day and day after the last of every membership."""
    with timescale.connection() as connection:
        return connection.execute(
            "select instrument_id, lower(valid), upper(valid) from universe_member order by 1, 2"
        ).fetchall()


AAA, BBB, CCC = ("AAA", "0000000001"), ("BBB", "0000000002"), ("CCC", "0000000003")


def test_who_joined_is_a_member(timescale: Timescale, instrument_ids: list[int]) -> None:
    """Members come under their tickers, in order."""
    members = InstrumentStore(timescale).members(UNIVERSE)

    assert [member.ticker for member in members] == ["AAA", "BBB", "CCC"]
    assert [member.instrument_id for member in members] == instrument_ids


def test_a_new_instrument_carries_its_ticker_since_ever(
    timescale: Timescale, instrument_ids: list[int]
) -> None:
    """Its history is fetched too, and no other instrument is known to have had the ticker."""
    instruments, unknown = InstrumentStore(timescale).resolve(
        "fmp", ["CCC", "ZZZ"], date(2006, 1, 3)
    )

    assert [(instrument.instrument_id, instrument.ticker) for instrument in instruments] == [
        (instrument_ids[2], "CCC")
    ]
    assert unknown == ["ZZZ"]


def test_who_left_keeps_instrument_and_ticker(
    timescale: Timescale, instrument_ids: list[int]
) -> None:
    """Only the membership ends; the ticker still resolves and still has its partition."""
    store = InstrumentStore(timescale)
    follow(store, listed(AAA, CCC), LATER)

    assert [member.ticker for member in store.members(UNIVERSE)] == ["AAA", "CCC"]
    instruments, _ = store.resolve("fmp", ["BBB"], LATEST)
    assert instruments[0].instrument_id == instrument_ids[1]
    assert store.tickers() == ["AAA", "BBB", "CCC"]
    assert memberships(timescale) == [
        (instrument_ids[0], JOINED_ON, None),
        (instrument_ids[1], JOINED_ON, LATER),
        (instrument_ids[2], JOINED_ON, None),
    ]


def test_who_returns_is_the_instrument_of_before(
    timescale: Timescale, instrument_ids: list[int]
) -> None:
    """A returning constituent has its history back, and a second membership."""
    store = InstrumentStore(timescale)
    follow(store, listed(AAA, CCC), LATER)
    follow(store, listed(AAA, BBB, CCC), LATEST)

    assert [member.instrument_id for member in store.members(UNIVERSE)] == instrument_ids
    of_bbb = [
        membership for membership in memberships(timescale) if membership[0] == instrument_ids[1]
    ]
    assert of_bbb == [
        (instrument_ids[1], JOINED_ON, LATER),
        (instrument_ids[1], LATEST, None),
    ]


def test_a_renamed_instrument_is_found_under_the_ticker_of_the_day(
    timescale: Timescale, instrument_ids: list[int]
) -> None:
    """FB before the day, META from it on: one instrument, one membership."""
    store = InstrumentStore(timescale)
    change = follow(store, listed(AAA, ("BBX", "0000000002"), CCC), LATER)

    assert len(change.renamed) == 1
    before, _ = store.resolve("fmp", ["BBB"], date(2023, 4, 30))
    after, _ = store.resolve("fmp", ["BBX"], LATER)
    assert before[0].instrument_id == after[0].instrument_id == instrument_ids[1]
    assert store.resolve("fmp", ["BBB"], LATER) == ([], ["BBB"])
    assert store.resolve("fmp", ["BBX"], date(2023, 4, 30)) == ([], ["BBX"])


def test_another_registrant_under_the_same_ticker_keeps_the_instrument_and_is_noted(
    timescale: Timescale, instrument_ids: list[int]
) -> None:
    """A re-domiciled company: ticker, id and membership go on, and what happened can be read."""
    store = InstrumentStore(timescale)
    follow(store, listed(AAA, ("BBB", "0000000099"), CCC), LATER)

    assert [member.instrument_id for member in store.members(UNIVERSE)] == instrument_ids
    assert [member.cik for member in store.members(UNIVERSE)] == [AAA[1], "0000000099", CCC[1]]
    for day in (date(2023, 4, 30), LATER):
        instruments, _ = store.resolve("fmp", ["BBB"], day)
        assert instruments[0].instrument_id == instrument_ids[1]
    assert all(ended_on is None for _, _, ended_on in memberships(timescale))
    (event,) = store.events()
    assert str(event) == f"BBB issuer_changed: 0000000002 to 0000000099 on {LATER}"
    assert event.instrument_id == instrument_ids[1]


def test_a_ticker_that_left_and_came_back_with_another_cik_belongs_to_another_instrument(
    timescale: Timescale, instrument_ids: list[int]
) -> None:
    """That is evidence of a reused ticker: the old one's ticker ends, and it is noted."""
    store = InstrumentStore(timescale)
    follow(store, listed(AAA, CCC), LATER)
    follow(store, listed(AAA, ("BBB", "0000000099"), CCC), LATEST)

    old, _ = store.resolve("fmp", ["BBB"], LATER)
    new, _ = store.resolve("fmp", ["BBB"], LATEST)
    assert old[0].instrument_id == instrument_ids[1]
    assert new[0].instrument_id not in instrument_ids
    assert len(store.members(UNIVERSE)) == 3
    (event,) = store.events()
    assert (event.kind, event.instrument_id) == (EventKind.TICKER_REUSED, new[0].instrument_id)


def test_a_provider_that_keeps_each_day_under_its_ticker_is_asked_under_those_of_the_days(
    timescale: Timescale, instrument_ids: list[int]
) -> None:
    """BBB became BBX, and then another BBB came: its days are its own, and BBX keeps the old."""
    store = InstrumentStore(timescale)
    follow(store, listed(AAA, ("BBX", "0000000002"), CCC), LATER)
    follow(store, listed(AAA, ("BBX", "0000000002"), ("BBB", "0000000004"), CCC), LATEST)
    of_the_day = PastSymbols.OF_THE_DAY
    instruments, _ = store.resolve("fmp", ["AAA", "BBX", "BBB"], LATEST, of_the_day)
    before, day = LATER - timedelta(days=1), LATEST - timedelta(days=1)

    assert [instrument.carried for instrument in instruments] == [
        (),
        (
            SymbolSpan(symbol="BBB", start=date.min, end=before),
            SymbolSpan(symbol="BBX", start=LATER, end=date.max),
        ),
        (SymbolSpan(symbol="BBB", start=LATEST, end=date.max),),
    ]
    assert [span.symbol for span in instruments[1].symbols(before, day)] == ["BBB", "BBX"]
    assert instruments[2].on(day) is None
    assert instruments[1].instrument_id == instrument_ids[1]
    today, _ = store.resolve("fmp", ["BBX"], LATEST)
    assert today[0].carried == ()
    assert str(store.events()[-1]) == f"BBX renamed: BBB to BBX on {LATER}"


def test_a_former_ticker_comes_back_as_another_instrument_even_of_the_same_company(
    timescale: Timescale, instrument_ids: list[int]
) -> None:
    """A second class of shares under the ticker that the first one had: two securities."""
    store = InstrumentStore(timescale)
    follow(store, listed(AAA, ("BBX", "0000000002"), CCC), LATER)
    follow(store, listed(AAA, ("BBX", "0000000002"), BBB, CCC), LATEST)
    by_ticker = {member.ticker: member.instrument_id for member in store.members(UNIVERSE)}
    assert by_ticker["BBX"] == instrument_ids[1]
    assert by_ticker["BBB"] not in instrument_ids


def test_whose_ticker_another_carries_can_still_be_asked_for_under_the_one_of_then(
    timescale: Timescale, instrument_ids: list[int]
) -> None:
    """Only where days stay under their tickers; today's ticker would give another's data."""
    store = InstrumentStore(timescale)
    follow(store, listed(AAA, CCC), LATER)
    follow(store, listed(AAA, ("BBB", "0000000099"), CCC), LATEST)
    (old,) = store.listed("fmp", [instrument_ids[1]], LATEST, PastSymbols.OF_THE_DAY)
    assert old.ticker == "BBB"
    assert [span.end for span in old.carried] == [LATEST - timedelta(days=1)]
    assert store.listed("fmp", [instrument_ids[1]], LATEST) == []


def test_spellings_are_the_providers(timescale: Timescale) -> None:
    """BRK.B is BRK-B at FMP; the order asked for is kept, repeats are not."""
    store = InstrumentStore(timescale)
    follow(store, listed(("BRK.B", "0001067983"), AAA), JOINED_ON)

    instruments, unknown = store.resolve("fmp", ["BRK.B", "AAA", "BRK.B"], LATER)

    assert [(instrument.ticker, instrument.symbol) for instrument in instruments] == [
        ("BRK.B", "BRK-B"),
        ("AAA", "AAA"),
    ]
    assert unknown == []


def test_applying_a_change_again_does_nothing(
    timescale: Timescale, instrument_ids: list[int]
) -> None:
    """A run that is repeated after a crash ends where the first one did."""
    store = InstrumentStore(timescale)
    member = store.members(UNIVERSE)[1]
    change = UniverseChange(
        joined=tuple(listed(("DDD", "0000000004"))),
        left=(store.members(UNIVERSE)[0],),
        renamed=(Rename(member=member, constituent=listed(("BBX", "0000000002"))[0]),),
        kept=(),
    )
    store.apply(change, LATER, UNIVERSE)
    once = (store.members(UNIVERSE), memberships(timescale), store.tickers())

    store.apply(change, LATER, UNIVERSE)

    assert (store.members(UNIVERSE), memberships(timescale), store.tickers()) == once
    assert instrument_ids[1] in {instrument.instrument_id for instrument in once[0]}


def test_joining_and_leaving_on_one_day_leaves_no_membership(timescale: Timescale) -> None:
    """A membership of no day is not stored."""
    store = InstrumentStore(timescale)
    follow(store, listed(AAA), LATER)
    follow(store, [], LATER)

    assert memberships(timescale) == []
    assert store.tickers() == ["AAA"]


def test_two_renames_on_one_day_keep_the_last(
    timescale: Timescale, instrument_ids: list[int]
) -> None:
    """A ticker of no day was never carried."""
    store = InstrumentStore(timescale)
    follow(store, listed(AAA, ("BBX", "0000000002"), CCC), LATER)
    follow(store, listed(AAA, ("BBY", "0000000002"), CCC), LATER)

    assert store.tickers() == ["AAA", "BBB", "BBY", "CCC"]
    assert store.members(UNIVERSE)[1].instrument_id == instrument_ids[1]


def test_a_ticker_never_has_two_holders_on_one_day(
    instrument_ids: list[int], migrated_url: str
) -> None:
    """The database itself refuses it."""
    with (
        psycopg.connect(migrated_url) as connection,
        pytest.raises(psycopg.errors.ExclusionViolation),
    ):
        connection.execute(
            "insert into instrument_ticker (instrument_id, ticker, valid)"
            " values (%s, 'AAA', '[2023-01-01,)')",
            (instrument_ids[1],),
        )


def test_a_wrong_cik_is_refused_and_nothing_changes(timescale: Timescale) -> None:
    """One transaction for the whole change."""
    store = InstrumentStore(timescale)

    with pytest.raises(errors.StorageConflictError, match="ten_digits"):
        follow(store, listed(AAA, ("BAD", "12")), LATER)

    assert store.members(UNIVERSE) == list[Member]()
