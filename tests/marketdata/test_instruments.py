"""From a list of constituents to the changes of the universe."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marketdata.instruments import (
    SMALLEST_SHARE,
    Constituent,
    IssuerChange,
    Member,
    our_tickers,
    provider_spellings,
    refuse_implausible,
    universe_change,
)
from marketdata.recovery import errors


def _member(ticker: str, cik: str | None, instrument_id: int = 0) -> Member:
    return Member(instrument_id=instrument_id or sum(map(ord, ticker)), ticker=ticker, cik=cik)


def _listed(ticker: str, cik: str | None) -> Constituent:
    return Constituent(ticker=ticker, name=f"{ticker} Inc.", cik=cik, sector=None)


def _change(
    known: dict[str, str | None], listed: dict[str, str | None]
) -> tuple[list[str], list[str], list[str], list[str]]:
    """Return joined, left, renamed and kept as short texts."""
    change = universe_change(
        [_member(ticker, cik) for ticker, cik in known.items()],
        [_listed(ticker, cik) for ticker, cik in listed.items()],
    )
    return (
        [constituent.ticker for constituent in change.joined],
        [member.ticker for member in change.left],
        [f"{rename.member.ticker}>{rename.constituent.ticker}" for rename in change.renamed],
        [member.ticker for member in change.kept],
    )


@pytest.mark.parametrize(
    ("known", "listed", "expected"),
    [
        pytest.param({}, {}, ([], [], [], []), id="nothing"),
        pytest.param({}, {"A": "1"}, (["A"], [], [], []), id="the first list"),
        pytest.param({"A": "1"}, {}, ([], ["A"], [], []), id="left"),
        pytest.param({"A": "1"}, {"A": "1"}, ([], [], [], ["A"]), id="kept"),
        pytest.param({"FB": "1"}, {"META": "1"}, ([], [], ["FB>META"], []), id="renamed"),
        pytest.param({"A": "1"}, {"B": "2"}, (["B"], ["A"], [], []), id="one for another"),
        pytest.param({"A": None}, {"B": None}, (["B"], ["A"], [], []), id="no cik, no guess"),
        pytest.param({"A": ""}, {"B": ""}, (["B"], ["A"], [], []), id="empty cik, no guess"),
        pytest.param({"A": None}, {"A": "1"}, ([], [], [], ["A"]), id="a cik becomes known"),
        pytest.param({"A": "1"}, {"A": None}, ([], [], [], ["A"]), id="a cik is missing"),
        pytest.param({"A": "1"}, {"A": "2"}, ([], [], [], ["A"]), id="another registrant"),
        pytest.param(
            {"GOOG": "1", "GOOGL": "1"},
            {"GOOG": "2", "GOOGL": "2"},
            ([], [], [], ["GOOG", "GOOGL"]),
            id="another registrant of two classes",
        ),
        pytest.param(
            {"ACE": "1", "CB": "2"}, {"CB": "1"}, ([], ["CB"], ["ACE>CB"], []), id="taken over"
        ),
        pytest.param(
            {"A": "1"},
            {"A": "2", "X": "1", "Y": "1"},
            (["A", "X", "Y"], ["A"], [], []),
            id="the former registrant goes on under two new tickers",
        ),
        pytest.param(
            {"A": "1"}, {"A": "2", "B": "1"}, (["A"], [], ["A>B"], []), id="renamed and reused"
        ),
        pytest.param(
            {"A": "1", "B": "2"}, {"A": "2", "B": "1"}, ([], [], ["A>B", "B>A"], []), id="swapped"
        ),
        pytest.param(
            {"GOOG": "1", "GOOGL": "1"},
            {"GX": "1", "GY": "1"},
            (["GX", "GY"], ["GOOG", "GOOGL"], [], []),
            id="two share classes, no guess",
        ),
        pytest.param(
            {"GOOG": "1", "GOOGL": "1"},
            {"GX": "1"},
            (["GX"], ["GOOG", "GOOGL"], [], []),
            id="two classes become one, no guess",
        ),
        pytest.param(
            {"GOOG": "1"},
            {"GX": "1", "GY": "1"},
            (["GX", "GY"], ["GOOG"], [], []),
            id="one becomes two classes, no guess",
        ),
        pytest.param(
            {"FOX": "1", "FOXA": "1"},
            {"FOX": "1", "FOXB": "1"},
            ([], [], ["FOXA>FOXB"], ["FOX"]),
            id="one of two classes renamed",
        ),
    ],
)
def test_a_list_turns_into_changes(
    known: dict[str, str | None],
    listed: dict[str, str | None],
    expected: tuple[list[str], list[str], list[str], list[str]],
) -> None:
    """A guess is made only where no other reading is possible."""
    assert _change(known, listed) == expected


def test_a_constituent_that_returns_joins_again() -> None:
    """Whether it is an instrument already known is for the store to find by ticker and CIK."""
    assert _change({}, {"A": "1"})[0] == ["A"]


_SIDE = st.dictionaries(
    st.sampled_from("ABCDEF"), st.none() | st.sampled_from(["1", "2", "3"]), max_size=6
)


def test_a_ticker_that_goes_on_with_another_cik_is_an_event_of_the_same_instrument() -> None:
    """A re-domiciled company: keyed by CIK, its instrument would lose its history."""
    known, listed = _member("CCC", "0000000003", 7), _listed("CCC", "0000000099")
    change = universe_change([known], [listed])
    assert (change.joined, change.left, change.kept) == ((), (), (known,))
    assert change.issuer_changed == (IssuerChange(member=known, constituent=listed),)


@given(_SIDE, _SIDE)
def test_every_member_and_every_constituent_has_one_fate(
    known: dict[str, str | None], listed: dict[str, str | None]
) -> None:
    """Members are kept, renamed or leave; constituents are kept, renamed to or join."""
    joined, left, renamed, kept = _change(known, listed)
    before = [pair.split(">")[0] for pair in renamed]
    after = [pair.split(">")[1] for pair in renamed]
    assert sorted(left + before + kept) == sorted(known)
    assert sorted(joined + after + kept) == sorted(listed)
    for old, new in zip(before, after, strict=True):
        assert known[old] == listed[new] is not None


@given(_SIDE)
def test_an_unchanged_list_changes_nothing(side: dict[str, str | None]) -> None:
    """A second run changes nothing."""
    assert _change(side, side) == ([], [], [], list(side))


def test_a_list_that_lost_too_much_is_not_believed() -> None:
    """An index does not shrink by a fifth overnight; a bad answer may."""
    known = [_member(str(number), None, number + 1) for number in range(10)]
    listed = [_listed(str(number), None) for number in range(10)]
    enough = int(SMALLEST_SHARE * 10)
    refuse_implausible(known, listed[:enough])
    refuse_implausible([], listed[:1])
    for too_few in (listed[: enough - 1], []):
        with pytest.raises(errors.RecordRejectedError, match="nothing was changed"):
            refuse_implausible(known, too_few)
    with pytest.raises(errors.RecordRejectedError):
        refuse_implausible([], [])


def test_a_list_that_names_a_ticker_twice_is_not_believed() -> None:
    """One of the two would be lost silently."""
    with pytest.raises(errors.RecordRejectedError, match="twice"):
        refuse_implausible([], [_listed("A", "1"), _listed("A", "2")])


def test_spellings_are_data_and_read_both_ways() -> None:
    """FMP writes share classes with a hyphen; tickers that read alike are not listed."""
    assert provider_spellings("fmp")["BRK.B"] == "BRK-B"
    assert our_tickers("fmp")["BRK-B"] == "BRK.B"
    assert len(our_tickers("fmp")) == len(provider_spellings("fmp"))
    assert all(ticker != symbol for ticker, symbol in provider_spellings("fmp").items())
    assert provider_spellings("nobody") == our_tickers("nobody") == {}
