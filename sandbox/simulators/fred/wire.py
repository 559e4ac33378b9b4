"""FRED's answers, byte for byte as its API forms them: XML, or JSON if asked for.

Here: bodies and error texts. Not here: which request gets which answer (simulator.py). Facts:
tests/recordings/fred_*, error texts as users of fredapi, fredr and other clients quote them, and
what fredapi reads from XML.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from xml.etree import ElementTree as ET

from marketdata.macro import ST_LOUIS
from sandbox.simulators.faults import Reply

_JSON = "application/json; charset=UTF-8"
_XML = "text/xml; charset=UTF-8"
_READ_MORE = "  Read https://fred.stlouisfed.org/docs/api/api_key.html for more information."
_OPENINGS = {
    400: "Bad Request.  ",
    404: "Not Found.  ",
    429: "Too Many Requests.  ",
    500: "Internal Server Error.  ",
}
NO_SUCH_SERIES = "The series does not exist."
NOT_IN_ALFRED = (
    "The series does not exist in ALFRED but may exist in FRED.  Try setting realtime_start and "
    "realtime_end to today's date or removing the realtime_start and realtime_end variables."
)
KEY_NOT_SET = f"Variable api_key is not set.{_READ_MORE}"
_KEY_SHAPE = "a 32 character alpha-numeric lower-case string"
KEY_MISSHAPEN = f"The value for variable api_key is not {_KEY_SHAPE}.{_READ_MORE}"
KEY_NOT_REGISTERED = f"The value for variable api_key is not registered.{_READ_MORE}"
LIMIT_EXCEEDED = "Exceeded Rate Limit"

Field = str | int | bool
Row = Mapping[str, Field]


@dataclass(frozen=True, slots=True, kw_only=True)
class ListOf:
    """The names of a list: of itself (JSON's key, XML's root) and of a row in XML."""

    rows: str
    row: str
    text: str | None = None
    """The field that XML writes as the element's text instead of an attribute."""


OBSERVATIONS = ListOf(rows="observations", row="observation")
SERIES = ListOf(rows="seriess", row="series")
RELEASES = ListOf(rows="releases", row="release")
RELEASE_DATES = ListOf(rows="release_dates", row="release_date", text="date")
VINTAGE_DATES = ListOf(rows="vintage_dates", row="vintage_date", text="date")


def listed(of: ListOf, envelope: Row, rows: Sequence[Row], *, as_json: bool) -> Reply:
    """Return a list with its envelope."""
    if not as_json:
        return _xml(of, envelope, rows)
    # A vintage date is a bare text in JSON.
    is_bare = of is VINTAGE_DATES
    return json_reply({**envelope, of.rows: [row["date"] if is_bare else row for row in rows]})


def error(status: int, text: str, *, as_json: bool) -> Reply:
    """Return FRED's error, its text after the opening of its status."""
    message = f"{_OPENINGS.get(status, '')}{text}"
    if as_json:
        return json_reply({"error_code": status, "error_message": message}, status)
    element = ET.Element("error", {"code": str(status), "message": message})
    return Reply(status=status, body=_document(element), content_type=_XML)


def too_many_vintages(count: int, start: date, end: date, most: int) -> str:
    """Return the text of the rule of 2,000 vintages."""
    return (
        f"There are {count} vintage dates in the specified real-time period: {start} to {end}.  "
        f"This exceeds the maximum number of vintage dates allowed ({most})."
    )


def no_vintages(start: date, end: date) -> str:
    """Return the text for output types that want vintages where there are none."""
    return f"No vintage dates exist for the specified real-time period: {start} to {end}."


def moment(at: datetime) -> str:
    """Write ``last_updated``: St. Louis's wall time, its offset in two digits."""
    local = at.astimezone(ST_LOUIS)
    return f"{local:%Y-%m-%d %H:%M:%S}{local:%z}"[:-2]


def json_reply(content: Mapping[str, object], status: int = 200) -> Reply:
    """Return ``content`` as JSON without blanks, slashes escaped as in the recordings."""
    text = json.dumps(content, separators=(",", ":")).replace("/", "\\/")
    return Reply(status=status, body=text.encode(), content_type=_JSON)


def _xml(of: ListOf, envelope: Row, rows: Sequence[Row]) -> Reply:
    root = ET.Element(of.rows, {name: _attribute(value) for name, value in envelope.items()})
    for row in rows:
        fields = {name: _attribute(value) for name, value in row.items() if name != of.text}
        element = ET.SubElement(root, of.row, fields)
        if of.text is not None:
            element.text = str(row[of.text])
    return Reply(status=200, body=_document(root), content_type=_XML)


def _attribute(value: Field) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _document(root: ET.Element) -> bytes:
    return b'<?xml version="1.0" encoding="utf-8" ?>\n' + ET.tostring(root, encoding="utf-8")
