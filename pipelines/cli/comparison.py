"""The database beside the simulator's truth: equal row by row, or where not.

Here: the comparison, for the demo and `wrdata sandbox verify`. Not here: the truth
(sandbox/simulators), or the loader.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd
import pyarrow as pa

from assets.universe import UNIVERSE
from marketdata.batches import DAILY_BARS_DATASET
from marketdata.calendars import HISTORY_START, calendar, utc_now
from marketdata.coverage import CoverageState, Span
from resources.opening import Stores
from resources.storage.bar_reader import read_daily_bars
from sandbox.control import SimulatorControl

KEY = ["ticker", "session_date"]
VALUES = ["open", "high", "low", "close", "volume"]
ANSWERED = (
    CoverageState.COMPLETE,
    CoverageState.PROVISIONAL,
    CoverageState.PROVIDER_EMPTY,
    CoverageState.NOT_LISTED,
)
"""States that claim to know what the provider has of a session."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """How much of the database the simulator confirms.

    Attributes:
        different: Bars with other values than the simulator serves.
        foreign: Stored bars that the simulator does not serve.
        absent: Bars that the simulator serves of sessions which the ledger calls answered, but
            that are not stored.
        sample: Some of the bars that are not equal, as ``ticker session``.
    """

    equal: int
    different: int
    foreign: int
    absent: int
    sample: tuple[str, ...]

    @property
    def perfect(self) -> bool:
        """Whether nothing differs."""
        return not (self.different or self.foreign or self.absent)


def compare(stores: Stores, control: SimulatorControl) -> Comparison:
    """Compare every stored bar, and every session the ledger calls answered, with the truth."""
    end = calendar().last_closed(utc_now())
    members = stores.instruments.members(UNIVERSE)
    stored = read_daily_bars(stores.timescale, HISTORY_START, end).to_pandas()
    tickers = sorted({*(member.ticker for member in members), *stored["ticker"].unique()})
    truth = _frame(control.truth(tickers, start=HISTORY_START, end=end))
    merged = stored.merge(truth, on=KEY, how="outer", suffixes=("", "_true"), indicator="found")
    both = merged["found"] == "both"
    same = (
        merged[VALUES].to_numpy() == merged[[f"{name}_true" for name in VALUES]].to_numpy()
    ).all(axis=1)
    ledger = stores.coverage.ledger(
        DAILY_BARS_DATASET, [member.instrument_id for member in members]
    )
    answered = {member.ticker: _answered(ledger[member.instrument_id]) for member in members}
    absent = merged["found"].eq("right_only") & _within(merged, answered)
    wrong = merged[(both & ~same) | merged["found"].eq("left_only") | absent]
    return Comparison(
        equal=int((both & same).sum()),
        different=int((both & ~same).sum()),
        foreign=int(merged["found"].eq("left_only").sum()),
        absent=int(absent.sum()),
        sample=tuple(f"{one.ticker} {one.session_date}" for one in wrong.head(5).itertuples()),
    )


def _frame(truth: pa.Table) -> pd.DataFrame:
    frame = truth.to_pandas().rename(columns={"symbol": "ticker", "date": "session_date"})
    return frame.astype({"volume": "float64"})


def _answered(ledger: Mapping[CoverageState, Sequence[Span]]) -> list[Span]:
    return [span for state in ANSWERED for span in ledger.get(state, ())]


def _within(merged: pd.DataFrame, answered: Mapping[str, Sequence[Span]]) -> "pd.Series[bool]":
    """Tell for each row whether its ticker's session lies in one of the ticker's spans."""
    inside = pd.Series(data=False, index=merged.index)
    for ticker, rows in merged.groupby("ticker", sort=False):
        days = rows["session_date"]
        for start, end in answered.get(str(ticker), ()):
            inside.loc[days.index[(days >= start) & (days < end)]] = True
    return inside
