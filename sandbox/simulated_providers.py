"""The providers' simulators as a service of the local world.

Here: their keys, how their one process is launched and recognised, and the variables by which
the pipelines find them. Not here: what they serve (simulators/providers.py and those it
assembles), or ports and reuse (local_world.py).
"""

import secrets
import signal
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import httpx

from machine import private_files, processes

PER_MINUTE = 120
"""FMP's limit for this project's key."""
BULK_INTERVAL_S = 10.0
"""Seconds that clients keep between two of FMP's bulk requests."""
BULK_TOLERANCE_S = 0.5
"""Seconds by which the simulator allows the next one sooner, since requests jitter."""
POLYGON_PER_MINUTE = 300
"""Requests per minute to Polygon in the local world: less than a paid key allows, and enough."""

_KEYS: Mapping[str, Callable[[], str]] = {
    "fmp/ultimate": lambda: private_files.letters_and_digits(32),
    "polygon/advanced": lambda: private_files.letters_and_digits(32),
    "polygon/free": lambda: private_files.letters_and_digits(32),
    "tiingo/power": lambda: secrets.token_hex(20),
    # A key of FRED has 32 lower-case letters and digits.
    "fred/registered": lambda: secrets.token_hex(16),
}
"""Keys of the local world by provider and plan, each in the form of the provider's own."""


class SimulatedProviders:
    """The providers' simulators of one local world, in one process.

    Args:
        home: Folder of their keys, their journal and changes of their world.
        log: File that their output is appended to.
        per_minute: Requests that FMP allows in any 60 seconds.
        bulk_interval_s: Seconds that clients keep between two of FMP's bulk requests.
        seed: Decides which requests meet a fault with a probability.
    """

    name = "providers"
    stop_signal = signal.SIGTERM
    start_within_s = 60.0

    def __init__(
        self,
        *,
        home: Path,
        log: Path,
        per_minute: int = PER_MINUTE,
        bulk_interval_s: float = BULK_INTERVAL_S,
        seed: int = 0,
    ) -> None:
        self._home = home
        self._log = log
        self._per_minute = per_minute
        self._bulk_interval_s = bulk_interval_s
        self._seed = seed

    def prepare(self, report: Callable[[str], None]) -> None:
        """Create the folder and the keys."""
        self._home.mkdir(parents=True, exist_ok=True)
        if not (self._home / "keys.json").exists():
            report(f"Making keys for the simulated providers in {self._home}")
        self.keys()

    def launch(self, port: int) -> processes.Process:
        """Start the simulators on ``port`` without waiting for them."""
        project = Path(__file__).parents[1]
        return processes.spawn(
            [
                sys.executable, "-m", "sandbox.simulators.providers", "--port", str(port),
                "--root", str(self._home), "--seed", str(self._seed),
                "--fmp-per-minute", str(self._per_minute),
                "--fmp-bulk-interval-s", str(self._bulk_interval_s - BULK_TOLERANCE_S),
            ],
            log=self._log,
            cwd=project,
            env={"PATH": "/usr/bin:/bin", "PYTHONUNBUFFERED": "1"},
        )  # fmt: skip

    def answers(self, port: int) -> bool:
        """Tell whether the simulators on ``port`` are up."""
        try:
            answer = httpx.get(
                f"{self.address(port)}/_sandbox/providers",
                timeout=5,
                verify=processes.NO_AUTHORITIES,
                trust_env=False,
            )
        except httpx.HTTPError:
            return False
        return answer.is_success

    def complete(self, port: int) -> None:
        """Do nothing: the world needs no set-up."""

    def address(self, port: int) -> str:
        """Return scheme, host and port: the providers' prefixes and the controls lie below it."""
        return f"http://{processes.LOOPBACK}:{port}"

    def environment(self, port: int) -> dict[str, str]:
        """Return the variables by which the pipelines find each provider on ``port``."""
        keys, origin = self.keys(), self.address(port)
        return {
            "FMP_API_KEY": keys["fmp/ultimate"],
            "FMP_BASE_URL": f"{origin}/stable",
            "FMP_BULK_INTERVAL_S": f"{self._bulk_interval_s:g}",
            # FMP's key here has the plan with the whole market in one request.
            "WRDATA_DAILY_BARS_ROUTE": "bulk",
            "POLYGON_API_KEY": keys["polygon/advanced"],
            "POLYGON_BASE_URL": f"{origin}/polygon",
            "POLYGON_REQUESTS_PER_MINUTE": str(POLYGON_PER_MINUTE),
            "TIINGO_API_KEY": keys["tiingo/power"],
            "TIINGO_BASE_URL": f"{origin}/tiingo",
            # Limits of the plan "power".
            "TIINGO_REQUESTS_PER_HOUR": "5000",
            "TIINGO_REQUESTS_PER_DAY": "50000",
            "FRED_API_KEY": keys["fred/registered"],
            "FRED_BASE_URL": f"{origin}/fred",
            "BINANCE_BASE_URL": f"{origin}/binance",
            "BINANCE_FILES_URL": f"{origin}/binance-files",
            "COINBASE_BASE_URL": f"{origin}/coinbase",
        }

    def keys(self) -> Mapping[str, str]:
        """Return the keys by provider and plan; missing ones are generated and kept."""
        return private_files.kept_secrets(self._home / "keys.json", _KEYS)


def take_over(former: Path, home: Path) -> None:
    """Turn ``former``, the folder of a simulator of FMP alone, into ``home``; rename its key."""
    if home.exists() or not former.exists():
        return
    former.rename(home)
    kept = private_files.read_json(home / "keys.json")
    if "ultimate" in kept:
        kept["fmp/ultimate"] = kept.pop("ultimate")
        private_files.write_json(home / "keys.json", kept)
