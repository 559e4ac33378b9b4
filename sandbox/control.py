"""A client for the simulators' controls, for the command line and for tests.

Here: reading the providers' log, making them misbehave, changing their world, asking for the
truth. Not here: the controls themselves (simulators/controls.py, simulators/world_controls.py).
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import date, datetime
from types import TracebackType
from typing import Self, cast

import httpx
import pyarrow as pa

from machine import processes
from marketdata.recovery import errors
from sandbox.simulators.controls import ARROW_STREAM
from sandbox.simulators.faults import FaultKind, FaultRule
from sandbox.simulators.journal import JournalEntry


class SimulatorControl:
    """Controls of the simulators at ``origin`` (``http://host:port``); a context manager.

    A simulator that is served alone, as in tests, has no splits, restatements, vintages and
    truths of datasets. Every method raises ConfigurationError if the simulator does not answer,
    and ArgumentError if it refuses.
    """

    def __init__(self, origin: str) -> None:
        self._origin = origin
        # Loopback only: a proxy of the environment has no business in between.
        self._client = httpx.Client(
            base_url=f"{origin}/_sandbox",
            timeout=120,
            verify=processes.NO_AUTHORITIES,
            trust_env=False,
        )

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the connection."""
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def requests(self, since: datetime | None = None) -> list[JournalEntry]:
        """Return the requests that arrived at or after ``since`` (aware), oldest first."""
        parameters = {} if since is None else {"since": since.isoformat()}
        answer = self._ask("GET", "/requests", parameters=parameters)
        return [JournalEntry(**fields) for fields in answer.json()]

    def add_fault(
        self,
        kind: FaultKind | str,
        *,
        path: str = "/",
        symbol: str | None = None,
        status: int | None = None,
        count: int | None = None,
        probability: float = 1.0,
        seconds: float | None = None,
        as_date: bool = False,
        quirk: str | None = None,
    ) -> None:
        """Corrupt answers from now on; see sandbox.simulators.faults.FaultRule."""
        self.add_rule(
            FaultRule(
                kind=FaultKind(kind),
                path=path,
                symbol=symbol,
                status=status,
                count=count,
                probability=probability,
                seconds=seconds,
                as_date=as_date,
                quirk=quirk,
            )
        )

    def add_rule(self, rule: FaultRule) -> None:
        """Add a rule, after the existing ones."""
        self._ask("POST", "/faults", content=asdict(rule))

    def faults(self) -> list[dict[str, object]]:
        """Return the rules in force, with what is left of their counts."""
        return cast("list[dict[str, object]]", self._ask("GET", "/faults").json())

    def clear_faults(self) -> None:
        """End all faults."""
        self._ask("DELETE", "/faults")

    def correct(self, ticker: str, day: date, factor: float) -> None:
        """Restate one bar: its prices become ``factor`` times the original ones."""
        fields = {"symbol": ticker, "date": day.isoformat(), "factor": factor}
        self._ask("POST", "/corrections", content=fields)

    def split(self, ticker: str, ex_date: date, *, new_shares: int, old_shares: int) -> None:
        """Announce a split from now on: ``old_shares`` become ``new_shares`` on ``ex_date``."""
        fields = {
            "symbol": ticker,
            "ex_date": ex_date.isoformat(),
            "new_shares": new_shares,
            "old_shares": old_shares,
        }
        self._ask("POST", "/splits", content=fields)

    def was_called(self, ticker: str, former: str, first: date, last: date) -> None:
        """Let the share ``ticker`` have traded as ``former`` from ``first`` to ``last``.

        Polygon shows it: it keeps each day under that day's ticker.
        """
        fields = {
            "symbol": ticker,
            "former": former,
            "first": first.isoformat(),
            "last": last.isoformat(),
        }
        self._ask("POST", "/former_tickers", content=fields)

    def restate(self, ticker: str, fiscal_year: int, period: str, factor: float) -> None:
        """Restate a company's statements of ``period`` (``FY``, ``Q1`` and so on)."""
        fields = {
            "symbol": ticker,
            "fiscal_year": fiscal_year,
            "period": period,
            "factor": factor,
        }
        self._ask("POST", "/restatements", content=fields)

    def revise(self, series: str) -> None:
        """Publish a revised vintage of a macroeconomic series today."""
        self._ask("POST", "/vintages", content={"series": series})

    def add_constituent(
        self, ticker: str, *, cik: str | None = None, former_ticker: str | None = None
    ) -> None:
        """Add a member to the index, or with ``former_ticker`` rename one.

        With a ``cik``, an existing member becomes that of another registrant.
        """
        given = {"symbol": ticker, "cik": cik, "former_symbol": former_ticker}
        fields = {name: value for name, value in given.items() if value is not None}
        self._ask("POST", "/constituents", content=fields)

    def remove_constituent(self, ticker: str) -> None:
        """Remove a member from the index; it still trades."""
        self._ask("DELETE", "/constituents", parameters={"symbol": ticker})

    def truth(
        self,
        tickers: Sequence[str] | None = None,
        *,
        start: date | None = None,
        end: date | None = None,
    ) -> pa.Table:
        """Return what a correct database holds: symbol (ours), date, prices, volume.

        Args:
            tickers: All current constituents if None.
            start: The first day there is if None.
            end: The last closed session if None.
        """
        parameters = {
            "symbols": ",".join(tickers) if tickers is not None else "",
            "start": start.isoformat() if start else "",
            "end": end.isoformat() if end else "",
        }
        answer = self._ask("GET", "/truth", parameters=parameters, accept=ARROW_STREAM)
        return pa.ipc.open_stream(answer.content).read_all()

    def dataset_truth(
        self,
        dataset: str,
        symbols: Sequence[str] | None = None,
        *,
        start: date | None = None,
        end: date | None = None,
        provider: str | None = None,
    ) -> pa.Table:
        """Return what a correct database holds of ``dataset``, in its wire schema.

        ``symbol`` is in our spelling: ticker, pair, series or index. All is as of now.

        Args:
            dataset: Such as ``minute_bars``.
            symbols: All there are if None.
            start: First day of rows; the earliest if None.
            end: Last day of rows; today if None. Not for statements, companies and index
                changes.
            provider: Provider of the rows, where they differ; the dataset's own if None.
        """
        parameters = {
            "subjects": ",".join(symbols) if symbols is not None else "",
            "start": start.isoformat() if start else "",
            "end": end.isoformat() if end else "",
            "provider": provider or "",
        }
        answer = self._ask("GET", f"/truth/{dataset}", parameters=parameters, accept=ARROW_STREAM)
        return pa.ipc.open_stream(answer.content).read_all()

    def _ask(
        self,
        method: str,
        path: str,
        *,
        parameters: Mapping[str, str] | None = None,
        content: Mapping[str, object] | None = None,
        accept: str = "application/json",
    ) -> httpx.Response:
        try:
            answer = self._client.request(
                method, path, params=parameters, json=content, headers={"accept": accept}
            )
        except httpx.HTTPError as error:
            message = f"the simulator at {self._origin} does not answer: start the local world"
            raise errors.ConfigurationError(message) from error
        if answer.is_error:
            message = f"the simulator refuses: {_reason(answer)}"
            raise errors.ArgumentError(message)
        return answer


def _reason(answer: httpx.Response) -> str:
    """Return the reason of a refusal, without the JSON around it."""
    try:
        reason: object = answer.json()["error"]
    except (ValueError, KeyError, TypeError):
        reason = answer.text
    return str(reason)
