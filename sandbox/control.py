"""A client for a simulator's controls, for the command line and for tests.

Here: reading the provider's log, making it misbehave, changing its world, asking for the truth.
Not here: the controls themselves (simulators/controls.py).
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import date, datetime
from types import TracebackType
from typing import Self, cast

import httpx
import pyarrow as pa

from marketdata.recovery import errors
from sandbox.simulators.controls import ARROW_STREAM
from sandbox.simulators.faults import FaultKind, FaultRule
from sandbox.simulators.journal import JournalEntry


class SimulatorControl:
    """Controls of the simulator at ``origin`` (``http://host:port``); a context manager.

    Every method raises ConfigurationError if the simulator does not answer or refuses.
    """

    def __init__(self, origin: str) -> None:
        self._origin = origin
        # Loopback only: a proxy of the environment has no business in between.
        self._client = httpx.Client(base_url=f"{origin}/_sandbox", timeout=120, trust_env=False)

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
    ) -> None:
        """Spoil requests from now on; see sandbox.simulators.faults.FaultRule."""
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
            )
        )

    def add_rule(self, rule: FaultRule) -> None:
        """Put a rule in force, behind those there are."""
        self._ask("POST", "/faults", content=asdict(rule))

    def faults(self) -> list[dict[str, object]]:
        """Return the rules in force, with what is left of their counts."""
        return cast("list[dict[str, object]]", self._ask("GET", "/faults").json())

    def clear_faults(self) -> None:
        """Let the simulator behave again."""
        self._ask("DELETE", "/faults")

    def correct(self, ticker: str, day: date, factor: float) -> None:
        """Restate one bar: its prices become ``factor`` times the original ones."""
        fields = {"symbol": ticker, "date": day.isoformat(), "factor": factor}
        self._ask("POST", "/corrections", content=fields)

    def add_constituent(
        self, ticker: str, *, cik: str | None = None, former_ticker: str | None = None
    ) -> None:
        """Add a member to the index; with ``former_ticker`` that one is renamed."""
        given = {"symbol": ticker, "cik": cik, "former_symbol": former_ticker}
        fields = {name: value for name, value in given.items() if value is not None}
        self._ask("POST", "/constituents", content=fields)

    def remove_constituent(self, ticker: str) -> None:
        """Take a member out of the index; it goes on trading."""
        self._ask("DELETE", "/constituents", parameters={"symbol": ticker})

    def truth(
        self,
        tickers: Sequence[str] | None = None,
        *,
        start: date | None = None,
        end: date | None = None,
    ) -> pa.Table:
        """Return what a correct database equals: symbol (ours), date, prices, volume.

        Args:
            tickers: All present constituents if None.
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
            message = f"the simulator refuses {method} {path}: {answer.text}"
            raise errors.ConfigurationError(message)
        return answer
