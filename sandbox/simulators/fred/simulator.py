"""A simulator of FRED's API over the simulated macroeconomic world.

Here: keys, the limit, and which request gets which answer. Not here: bodies (wire.py), parameters
(query.py), what the answers are about (observations.py, catalogue.py), faults and the journal
(../front.py), or figures (../worlds/macro/world.py).

Refused, not ignored, because not simulated: units other than ``lin``, output type 3,
frequencies, ``vintage_dates``.
"""

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from http import HTTPStatus

from marketdata import macro
from marketdata.macro import ST_LOUIS
from sandbox.simulators.faults import FaultRule, Reply
from sandbox.simulators.fred import catalogue, observations, quirks, wire
from sandbox.simulators.fred import query as fred_query
from sandbox.simulators.fred.query import Cut, Span
from sandbox.simulators.front import Request
from sandbox.simulators.worlds.macro.figures import SHAPES
from sandbox.simulators.worlds.macro.world import FOREVER, MacroWorld

MOST_VINTAGES = 2000
MOST_OBSERVATIONS = 100_000
MOST_DATES = 10_000
MOST_ROWS = 1_000
MOST_IN_BULK = 500_000
_UPDATES_REACH_BACK = timedelta(days=14)
_ALWAYS = Span(start=fred_query.EARLIEST, end=FOREVER)
_NOT_SIMULATED = ("frequency", "aggregation_method", "vintage_dates", "tag_names")


@dataclass(frozen=True, slots=True, kw_only=True)
class FredLimits:
    """What the simulator allows a key: a bucket of ``burst`` that fills by ``per_second``.

    120 a minute are published and two a second enforced; how a burst is measured is unverified.
    """

    per_second: float = 2.0
    burst: float = 2.0


class FredSimulator:
    """Answers requests as FRED would.

    Args:
        keys: Registered keys, of 32 small letters and digits.
        now: Clock that returns aware UTC times; a vintage is served from its hour on.
    """

    prefix = "/fred"

    def __init__(
        self,
        world: MacroWorld,
        *,
        keys: Collection[str],
        now: Callable[[], datetime],
        limits: FredLimits | None = None,
    ) -> None:
        self._world = world
        self._keys = keys
        self._now = now
        self._limits = limits or FredLimits()
        self._used: dict[str, tuple[float, datetime]] = {}
        self._endpoints: Mapping[str, Callable[[Request], Reply]] = {
            "/series": self._series,
            "/series/observations": self._observations,
            "/series/vintagedates": self._vintage_dates,
            "/series/updates": self._updates,
            "/series/search": self._search,
            "/series/release": self._series_release,
            "/release/series": self._release_series,
            "/release/dates": self._release_dates,
            "/releases": self._releases,
            "/v2/release/observations": self._bulk,
        }

    def key(self, query: Mapping[str, str], headers: Mapping[str, str]) -> tuple[str, str] | None:
        """Return the key of the query, or the bearer's."""
        if query.get("api_key"):
            return "api_key", query["api_key"]
        scheme, _, token = headers.get("authorization", "").partition(" ")
        return ("", token) if scheme.lower() == "bearer" and token else None

    def subject(self, request: Request) -> str | None:
        """Return the requested series."""
        return request.query.get("series_id")

    def error(self, status: int, text: str) -> Reply:
        """Return an error as JSON."""
        limited = status == HTTPStatus.TOO_MANY_REQUESTS
        message = f"{wire.LIMIT_EXCEEDED} ({text})" if limited else text
        return wire.error(status, message, as_json=True)

    def nothing(self) -> Reply:
        """Return the answer to an unknown series."""
        return wire.error(400, wire.NO_SUCH_SERIES, as_json=True)

    def spoilt(self, rule: FaultRule, reply: Reply) -> Reply:
        """Return ``reply`` with observations damaged."""
        return quirks.spoilt(rule, reply)

    def quirk(self, name: str, request: Request) -> Reply:
        """Return the answer with one of FRED's quirks: see ``quirks.quirk``."""
        return quirks.quirk(name, request, self.answer, as_json=_wants_json(request))

    def refusal(self, request: Request) -> Reply | None:
        """Return the refusal (key, limit), or None.

        Version 2 wants the bearer's key and the others the query's; how version 2 refuses one
        is unverified.
        """
        as_json = _wants_json(request)
        is_bulk = request.path.startswith("/v2/")
        is_bearer = request.headers.get("authorization") == f"Bearer {request.key}"
        if is_bulk and (not is_bearer or request.key not in self._keys):
            return wire.error(HTTPStatus.UNAUTHORIZED, "Unauthorized.", as_json=True)
        if request.key is None or is_bearer is not is_bulk:
            return wire.error(400, wire.KEY_NOT_SET, as_json=as_json)
        if re.fullmatch(r"[a-z0-9]{32}", request.key) is None:
            return wire.error(400, wire.KEY_MISSHAPEN, as_json=as_json)
        if request.key not in self._keys:
            return wire.error(400, wire.KEY_NOT_REGISTERED, as_json=as_json)
        if not self._admits(request.key, request.at):
            return wire.error(429, wire.LIMIT_EXCEEDED, as_json=as_json)
        return None

    def answer(self, request: Request) -> Reply:
        """Return the endpoint's answer."""
        as_json = _wants_json(request)
        endpoint = self._endpoints.get(request.path)
        if endpoint is None:
            return wire.error(HTTPStatus.NOT_FOUND, "Not Found.", as_json=as_json)
        try:
            for name in _NOT_SIMULATED:
                if name in request.query:
                    message = f"The variable {name} is not simulated."
                    raise ValueError(message)  # noqa: TRY301 - as from every reader of parameters
            return endpoint(request)
        except ValueError as error:
            return wire.error(400, str(error), as_json=as_json)

    def _admits(self, key: str, at: datetime) -> bool:
        """Take a token of the key's bucket, if there is one."""
        left, since = self._used.get(key, (self._limits.burst, at))
        filled = left + (at - since).total_seconds() * self._limits.per_second
        left = min(filled, self._limits.burst)
        is_admitted = left >= 1.0
        self._used[key] = (left - 1.0 if is_admitted else left, at)
        return is_admitted

    def _today(self) -> date:
        return self._now().astimezone(ST_LOUIS).date()

    def _asked_series(self, request: Request, period: Span) -> str:
        """Return the requested series; the text of a refusal is FRED's."""
        series = fred_query.needed(request.query, "series_id")
        is_past = {"realtime_start", "realtime_end"} & request.query.keys() and (
            period != Span(start=self._today(), end=self._today())
        )
        if series not in SHAPES:
            # For a past period FRED answers as for a series without vintages.
            raise ValueError(wire.NOT_IN_ALFRED if is_past else wire.NO_SUCH_SERIES)
        if period.end < SHAPES[series].archived:
            raise ValueError(wire.NOT_IN_ALFRED)
        return series

    def _listed(
        self,
        request: Request,
        of: wire.ListOf,
        rows: list[wire.Row],
        envelope: wire.Row,
        cut: Cut,
    ) -> Reply:
        page = {**envelope, "sort_order": cut.sort_order, "count": len(rows)}
        page |= {"offset": cut.offset, "limit": cut.limit}
        return wire.listed(of, page, list(cut.of(rows)), as_json=_wants_json(request))

    def _series(self, request: Request) -> Reply:
        period = fred_query.real_time(request.query, today=self._today())
        series = self._asked_series(request, period)
        row = catalogue.series_row(self._world, series, period, self._now())
        return wire.listed(wire.SERIES, _shown(period), [row], as_json=_wants_json(request))

    def _observations(self, request: Request) -> Reply:
        query = request.query
        period = fred_query.real_time(query, today=self._today())
        series = self._asked_series(request, period)
        fred_query.choice(query, "units", ("lin",))
        output_type = fred_query.choice(query, "output_type", ("1", "2", "4"))
        observed = fred_query.observed(query)
        cut = fred_query.cut(query, MOST_OBSERVATIONS)
        rows = self._observation_rows(series, output_type, period, observed)
        envelope: wire.Row = {
            **_shown(period),
            "observation_start": observed.start.isoformat(),
            "observation_end": observed.end.isoformat(),
            "units": "lin",
            "output_type": int(output_type),
            "file_type": "json" if _wants_json(request) else "xml",
            "order_by": "observation_date",
        }
        return self._listed(request, wire.OBSERVATIONS, rows, envelope, cut)

    def _observation_rows(
        self, series: str, output_type: str, period: Span, observed: Span
    ) -> list[wire.Row]:
        """Return the rows of ``period`` in an output type.

        Raises:
            ValueError: The period has too many vintages, or none where some are required.
        """
        now = self._now()
        vintages = [
            day for day in self._world.vintages(series, now) if period.start <= day <= period.end
        ]
        if len(vintages) > MOST_VINTAGES:
            text = wire.too_many_vintages(len(vintages), period.start, period.end, MOST_VINTAGES)
            raise ValueError(text)
        if output_type != "1" and not vintages:
            raise ValueError(wire.no_vintages(period.start, period.end))
        shown = [
            observation
            for observation in self._world.observations(series, now)
            if observed.start <= observation.observed_on <= observed.end
        ]
        if output_type == "1":
            return observations.by_real_time(shown, period)
        if output_type == "2":
            return observations.by_vintage(series, shown, vintages)
        return observations.first_releases(shown, period, SHAPES[series].archived)

    def _vintage_dates(self, request: Request) -> Reply:
        period = fred_query.real_time(request.query, today=self._today(), default=_ALWAYS)
        series = self._asked_series(request, period)
        rows: list[wire.Row] = [
            {"date": day.isoformat()}
            for day in self._world.vintages(series, self._now())
            if period.start <= day <= period.end
        ]
        cut = fred_query.cut(request.query, MOST_DATES)
        envelope: wire.Row = {**_shown(period), "order_by": "vintage_date"}
        return self._listed(request, wire.VINTAGE_DATES, rows, envelope, cut)

    def _updates(self, request: Request) -> Reply:
        query, now = request.query, self._now()
        is_regional = (
            fred_query.choice(query, "filter_value", ("all", "macro", "regional")) == "regional"
        )
        start, end = fred_query.minute(query, "start_time"), fred_query.minute(query, "end_time")
        if (start is None) is not (end is None):
            message = "Variables start_time and end_time have to be set together."
            raise ValueError(message)
        oldest = max(start or now - _UPDATES_REACH_BACK, now - _UPDATES_REACH_BACK)
        changed = {name: self._world.last_updated(name, now) for name in SHAPES}
        names = [
            name for name, at in changed.items() if not is_regional and oldest <= at <= (end or now)
        ]
        names.sort(key=lambda name: (changed[name], name))
        envelope: wire.Row = {
            "filter_variable": "geography",
            "filter_value": query.get("filter_value") or "all",
            "order_by": "last_updated",
        }
        return self._series_list(request, names, envelope, default_order="desc")

    def _search(self, request: Request) -> Reply:
        names = catalogue.search(fred_query.needed(request.query, "search_text"))
        order = fred_query.choice(request.query, "order_by", ("search_rank", "series_id", "title"))
        if order != "search_rank":
            titles = macro.series()
            names.sort(key=lambda name: name if order == "series_id" else titles[name].title)
        return self._series_list(request, names, {"order_by": order})

    def _release_series(self, request: Request) -> Reply:
        release = catalogue.release_named(fred_query.needed(request.query, "release_id"))
        names = catalogue.series_of(release)
        return self._series_list(request, names, {"order_by": "series_id"})

    def _series_list(
        self,
        request: Request,
        names: list[str],
        envelope: wire.Row,
        *,
        default_order: str = "asc",
    ) -> Reply:
        period = fred_query.real_time(request.query, today=self._today())
        rows: list[wire.Row] = [
            catalogue.series_row(self._world, name, period, self._now()) for name in names
        ]
        cut = fred_query.cut(request.query, MOST_ROWS, default_order)
        return self._listed(request, wire.SERIES, rows, {**_shown(period), **envelope}, cut)

    def _series_release(self, request: Request) -> Reply:
        period = fred_query.real_time(request.query, today=self._today())
        series = self._asked_series(request, period)
        row = catalogue.release_row(macro.series()[series].release, period)
        return wire.listed(wire.RELEASES, _shown(period), [row], as_json=_wants_json(request))

    def _releases(self, request: Request) -> Reply:
        period = fred_query.real_time(request.query, today=self._today())
        rows = [catalogue.release_row(name, period) for name in catalogue.RELEASE_IDS]
        cut = fred_query.cut(request.query, MOST_ROWS)
        envelope: wire.Row = {**_shown(period), "order_by": "release_id"}
        return self._listed(request, wire.RELEASES, rows, envelope, cut)

    def _release_dates(self, request: Request) -> Reply:
        period = fred_query.real_time(request.query, today=self._today(), default=_ALWAYS)
        release = catalogue.release_named(fred_query.needed(request.query, "release_id"))
        number = catalogue.RELEASE_IDS[release]
        rows: list[wire.Row] = [
            {"release_id": number, "date": day.isoformat()}
            for day in catalogue.release_days(self._world, release, self._now())
            if period.start <= day <= period.end
        ]
        cut = fred_query.cut(request.query, MOST_DATES)
        envelope: wire.Row = {**_shown(period), "order_by": "release_date"}
        return self._listed(request, wire.RELEASE_DATES, rows, envelope, cut)

    def _bulk(self, request: Request) -> Reply:
        query = request.query
        release = catalogue.release_named(fred_query.needed(query, "release_id"))
        page = catalogue.release_page(
            self._world,
            release,
            limit=fred_query.cut(query, MOST_IN_BULK).limit,
            cursor=query.get("next_cursor") or query.get("cursor"),
            now=self._now(),
        )
        return wire.json_reply(page)


def _wants_json(request: Request) -> bool:
    """XML is the default, of errors too; version 2 calls the parameter ``format``."""
    return request.query.get("file_type") == "json" or request.path.startswith("/v2/")


def _shown(period: Span) -> wire.Row:
    return {
        "realtime_start": period.start.isoformat(),
        "realtime_end": period.end.isoformat(),
    }
