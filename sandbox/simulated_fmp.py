"""The FMP simulator as a service of the local world.

Here: its key, how it is launched and recognised. Not here: what it serves
(simulators/fmp.py), or ports and reuse (local_world.py).
"""

import signal
import sys
from collections.abc import Callable
from pathlib import Path

import httpx

from sandbox import private_files, processes

PER_MINUTE = 120
"""The limit of this project's key."""
BULK_INTERVAL_S = 10.0
"""What clients keep between two bulk requests."""
BULK_TOLERANCE_S = 0.5
"""So much sooner the simulator allows the next one: requests jitter on their way."""


class SimulatedFmp:
    """The FMP simulator of one local world.

    Args:
        home: Folder for its key, its journal and the world's corrections.
        log: File that its output is appended to.
        per_minute: Requests that it allows in any 60 seconds.
        bulk_interval_s: What clients keep between two bulk requests.
        seed: Which requests meet a fault that spoils only a share of them.
    """

    name = "fmp"
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
        """Make the folder and the key."""
        self._home.mkdir(parents=True, exist_ok=True)
        if not (self._home / "keys.json").exists():
            report(f"Making a key for the FMP simulator in {self._home}")
        self.key()

    def launch(self, port: int) -> processes.Process:
        """Start the simulator on ``port`` without waiting for it."""
        project = Path(__file__).parents[1]
        return processes.spawn(
            [
                sys.executable, "-m", "sandbox.simulators.fmp", "--port", str(port),
                "--root", str(self._home),
                "--per-minute", str(self._per_minute), "--seed", str(self._seed),
                "--bulk-interval-s", str(self._bulk_interval_s - BULK_TOLERANCE_S),
            ],
            log=self._log,
            cwd=project,
            env={"PATH": "/usr/bin:/bin", "PYTHONUNBUFFERED": "1"},
        )  # fmt: skip

    def answers(self, port: int) -> bool:
        """Tell whether the simulator on ``port`` is up."""
        try:
            answer = httpx.get(f"{self.origin(port)}/_sandbox/health", timeout=5, trust_env=False)
        except httpx.HTTPError:
            return False
        return answer.is_success

    def complete(self, port: int) -> None:
        """Do nothing: the world needs no set-up."""

    def address(self, port: int) -> str:
        """Return the base URL for clients, as FMP's documentation gives it."""
        return f"{self.origin(port)}/stable"

    def origin(self, port: int) -> str:
        """Return scheme, host and port: the simulator's own controls lie below it."""
        return f"http://{processes.LOOPBACK}:{port}"

    def key(self) -> str:
        """Return the API key, 32 letters and digits as FMP's are."""
        known = private_files.kept_secrets(
            self._home / "keys.json", {"ultimate": lambda: private_files.letters_and_digits(32)}
        )
        return known["ultimate"]
