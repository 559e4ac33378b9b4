"""Faults as a client meets them over a real connection, and the controls' client."""

import time
from datetime import UTC, date, datetime, timedelta
from email.utils import parsedate_to_datetime

import httpx
import pytest

from machine.processes import NO_AUTHORITIES, wait_until
from marketdata.recovery import errors
from sandbox.control import SimulatorControl
from sandbox.simulators.faults import FaultKind
from tests.fixtures.world import RunningSimulator

PATH = "/historical-price-eod/full"


def _get(simulator: RunningSimulator, *, timeout: float = 10) -> httpx.Response:
    return httpx.get(
        f"{simulator.base_url}{PATH}",
        params={"symbol": "AAPL", "from": "2026-01-01", "to": "2026-02-01",
                "apikey": simulator.api_key},
        timeout=timeout,
        trust_env=False, verify=NO_AUTHORITIES,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "injected", "status", "opening"),
    [
        ("status", 503, 503, '{"Error Message": "injected'),
        ("status", 429, 429, '{"Error Message": "Limit Reach .'),
        ("html", None, 502, "<html>"),
        ("error_in_200", None, 200, '{"Error Message": '),
        ("malformed", None, 200, '[{"symbol": "AAPL"'),
        ("unknown", None, 200, "[]"),
        ("duplicate_rows", None, 200, '[{"symbol": "AAPL"'),
        ("malformed_rows", None, 200, '[{"symbol": "AAPL"'),
    ],
)
def test_a_fault_spoils_one_answer_and_the_next_is_right(
    fmp_simulator: RunningSimulator,
    kind: str,
    injected: int | None,
    status: int,
    opening: str,
) -> None:
    """The journal names the fault; the answer after it is the usual one."""
    right = _get(fmp_simulator).text
    fmp_simulator.control.add_fault(kind, symbol="AAPL", count=1, status=injected)
    spoilt = _get(fmp_simulator)
    assert (spoilt.status_code, spoilt.text[: len(opening)]) == (status, opening)
    assert spoilt.text != right
    assert _get(fmp_simulator).text == right
    faults = [entry.fault for entry in fmp_simulator.control.requests()]
    assert faults == [None, kind, None]


@pytest.mark.parametrize("seconds", [None, 7.0])
def test_a_429_may_carry_a_retry_after(
    fmp_simulator: RunningSimulator, seconds: float | None
) -> None:
    """Both kinds exist in the wild."""
    fmp_simulator.control.add_fault(FaultKind.STATUS, status=429, seconds=seconds)
    assert _get(fmp_simulator).headers.get("retry-after") == (None if seconds is None else "7")


def test_a_retry_after_may_be_a_date(fmp_simulator: RunningSimulator) -> None:
    """Never sooner than asked for, by the answer's own clock."""
    fmp_simulator.control.add_fault(FaultKind.STATUS, status=429, seconds=7.0, as_date=True)
    headers = _get(fmp_simulator).headers
    until = parsedate_to_datetime(headers["retry-after"])
    assert 7 <= (until - parsedate_to_datetime(headers["date"])).total_seconds() <= 8


def test_a_dripping_body_is_right_in_the_end(fmp_simulator: RunningSimulator) -> None:
    """It comes in drops, none of which is late."""
    right = _get(fmp_simulator).text
    fmp_simulator.control.add_fault(FaultKind.DRIP, count=1, seconds=1.0)
    began = time.monotonic()
    assert _get(fmp_simulator, timeout=0.5).text == right
    assert time.monotonic() - began >= 1.0


def test_an_endless_drip_outlasts_a_time_out_between_bytes(
    fmp_simulator: RunningSimulator,
) -> None:
    """Only a limit on the whole answer ends it; then the simulator stops as well."""
    fmp_simulator.control.add_fault(FaultKind.DRIP, count=1, seconds=60.0)
    began = time.monotonic()
    with httpx.stream(
        "GET",
        f"{fmp_simulator.base_url}{PATH}",
        params={"symbol": "AAPL", "apikey": fmp_simulator.api_key},
        timeout=5,
        trust_env=False,
        verify=NO_AUTHORITIES,
    ) as answer:
        for _ in answer.iter_raw():
            if time.monotonic() - began > 1.0:
                break
    assert wait_until(lambda: len(fmp_simulator.control.requests()) == 1, within_s=5)
    (entry,) = fmp_simulator.control.requests()
    assert entry.fault == "drip"
    assert 0 < entry.bytes < int(answer.headers["content-length"])


def test_a_half_body_breaks_off(fmp_simulator: RunningSimulator) -> None:
    """The client is promised more bytes than it gets before the connection closes."""
    fmp_simulator.control.add_fault(FaultKind.HALF_BODY, count=1)
    with pytest.raises(httpx.RemoteProtocolError):
        _get(fmp_simulator)
    assert _get(fmp_simulator).is_success


def test_a_silent_provider_lets_the_client_wait(fmp_simulator: RunningSimulator) -> None:
    """No answer comes; when the client gives up, the journal has the request without a status."""
    fmp_simulator.control.add_fault(FaultKind.TIMEOUT, count=1)
    with pytest.raises(httpx.ReadTimeout):
        _get(fmp_simulator, timeout=0.2)
    assert wait_until(lambda: len(fmp_simulator.control.requests()) == 1, within_s=5)
    (entry,) = fmp_simulator.control.requests()
    assert (entry.status, entry.bytes, entry.fault) == (0, 0, "timeout")


def test_a_silence_may_end_with_a_gateways_page(fmp_simulator: RunningSimulator) -> None:
    """With a duration the client that outlasts it gets a 504."""
    fmp_simulator.control.add_fault(FaultKind.TIMEOUT, count=1, seconds=0.05)
    answer = _get(fmp_simulator)
    assert (answer.status_code, answer.text[:6]) == (504, "<html>")


def test_a_slow_answer_is_right(fmp_simulator: RunningSimulator) -> None:
    """It only comes later."""
    right = _get(fmp_simulator).text
    fmp_simulator.control.add_fault(FaultKind.SLOW, count=1, seconds=0.1)
    began = time.monotonic()
    assert _get(fmp_simulator).text == right
    assert time.monotonic() - began >= 0.1


def test_faults_are_listed_and_cleared(fmp_simulator: RunningSimulator) -> None:
    """What is left of a count shows, and clearing mends everything."""
    control = fmp_simulator.control
    control.add_fault("status", status=500, count=3)
    assert _get(fmp_simulator).status_code == 500
    (rule,) = control.faults()
    assert (rule["kind"], rule["count"]) == ("status", 2)
    control.clear_faults()
    assert control.faults() == []
    assert _get(fmp_simulator).is_success


def test_the_truth_follows_a_correction(fmp_simulator: RunningSimulator) -> None:
    """One bar differs afterwards, in the truth and in what the provider serves."""
    control, day = fmp_simulator.control, date(2026, 1, 15)
    before = control.truth(["AAPL", "BRK.B"], end=date(2026, 6, 30))
    control.correct("AAPL", day, 1.1)
    after = control.truth(["AAPL", "BRK.B"], end=date(2026, 6, 30))
    pairs = zip(before.to_pylist(), after.to_pylist(), strict=True)
    changed = [(pair["symbol"], pair["date"]) for pair, other in pairs if pair != other]
    assert changed == [("AAPL", day)]
    served = {row["date"]: row["close"] for row in _get(fmp_simulator).json()}
    truth = {
        row["date"].isoformat(): row["close"]
        for row in after.to_pylist()
        if row["symbol"] == "AAPL"
    }
    assert served == {key: truth[key] for key in served}


def test_the_truth_comes_as_csv_too(fmp_simulator: RunningSimulator) -> None:
    """For people and other tools."""
    origin = fmp_simulator.base_url.removesuffix("/stable")
    asked = {"symbols": "AAPL", "start": "2026-01-05", "end": "2026-01-05"}
    text = httpx.get(
        f"{origin}/_sandbox/truth", params=asked, trust_env=False, verify=NO_AUTHORITIES
    ).text
    header, row = text.splitlines()
    assert header == '"symbol","date","open","high","low","close","volume"'
    assert row.startswith('"AAPL",2026-01-05,')


def test_constituents_come_and_go(fmp_simulator: RunningSimulator) -> None:
    """An invented one joins, another one leaves."""
    control = fmp_simulator.control
    control.add_constituent("ZZZT", cik="1234567")
    control.remove_constituent("MMM")
    rows = httpx.get(
        f"{fmp_simulator.base_url}/sp500-constituent",
        params={"apikey": fmp_simulator.api_key},
        trust_env=False,
        verify=NO_AUTHORITIES,
    ).json()
    ciks = {row["symbol"]: row["cik"] for row in rows}
    assert ciks["ZZZT"] == "0001234567"
    assert "MMM" not in ciks


def test_requests_can_be_asked_for_since_a_moment(fmp_simulator: RunningSimulator) -> None:
    """Older ones are left out."""
    _get(fmp_simulator)
    later = datetime.now(UTC) + timedelta(hours=1)
    assert len(fmp_simulator.control.requests(later - timedelta(hours=2))) == 1
    assert fmp_simulator.control.requests(later) == []


def test_a_control_that_is_refused_says_why(fmp_simulator: RunningSimulator) -> None:
    """The text names what is unknown."""
    with pytest.raises(errors.ConfigurationError, match="nothing trades as NOSUCH"):
        fmp_simulator.control.correct("NOSUCH", date(2026, 1, 5), 2)


def test_a_missing_simulator_is_a_configuration_error() -> None:
    """The text says how to get one."""
    with (
        SimulatorControl("http://127.0.0.1:9") as control,
        pytest.raises(errors.ConfigurationError, match="start the local world"),
    ):
        control.faults()
