"""Binance's two simulators on loopback, and the client on them."""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import httpx

from machine.processes import NO_AUTHORITIES
from resources.providers.binance import BinanceClient, wire
from resources.providers.http import HttpAnswer, HttpGetter
from sandbox.simulators import serving
from sandbox.simulators.binance import BinanceFilesSimulator, BinanceSimulator
from sandbox.simulators.front import Front
from sandbox.simulators.journal import Journal
from sandbox.simulators.worlds.crypto.world import CryptoWorld
from sandbox.simulators.worlds.shares.world import World
from tests.providers.permits import AT_ONCE, CountedBudget
from tests.sandbox.clock import Clock

T = TypeVar("T")


@dataclass
class Kept:
    """Keeps answers as the raw zone does, and returns them in order."""

    bodies: dict[str, bytes] = field(default_factory=dict)
    pointers: list[str] = field(default_factory=list)

    def keep(self, provider: str, operation: str, body: bytes, sha256: str, media_type: str) -> str:
        del provider, operation, sha256, media_type
        pointer = f"kept/{len(self.bodies)}"
        self.bodies[pointer] = body
        return pointer

    async def get(
        self, path: str, parameters: Mapping[str, str], *, operation: str, weight: int = 1
    ) -> HttpAnswer:
        del path, parameters, operation, weight
        pointer = self.pointers.pop(0)
        body = self.bodies[pointer]
        return HttpAnswer(
            status=200,
            headers={},
            body=body,
            sha256=hashlib.sha256(body).hexdigest(),
            fetched_at=datetime(2026, 11, 21, tzinfo=UTC),
            requests=0,
            raw_answer=pointer,
        )

    def again(self, pointers: Sequence[str]) -> BinanceClient:
        """Return a client of what is kept at ``pointers``."""
        self.pointers = list(pointers)
        return BinanceClient(self, self)


@dataclass
class SimulatedBinance:
    """Running simulators over one world."""

    origin: str
    crypto: CryptoWorld
    clock: Clock
    kept: Kept = field(default_factory=Kept)
    budget: CountedBudget = field(default_factory=CountedBudget)

    def do(self, work: Callable[[BinanceClient], Awaitable[T]]) -> T:
        """Run ``work`` with a client."""

        async def main() -> T:
            rest = HttpGetter(
                provider="binance",
                base_url=f"{self.origin}/binance",
                key=None,
                budget=self.budget,
                retry=AT_ONCE,
                classify=wire.classify_error,
                in_flight=4,
                keep=self.kept,
            )
            files = HttpGetter(
                provider="binance",
                base_url=f"{self.origin}/binance-files",
                key=None,
                budget=CountedBudget(),
                retry=AT_ONCE,
                classify=wire.classify_file_error,
                in_flight=4,
                keep=self.kept,
            )
            async with rest, files:
                return await work(BinanceClient(rest, files))

        return asyncio.run(main())

    def fault(self, **rule: object) -> None:
        """Put a fault in force."""
        httpx.post(
            f"{self.origin}/_sandbox/faults", json=rule, verify=NO_AUTHORITIES
        ).raise_for_status()

    def heal(self) -> None:
        """Forget every fault."""
        httpx.delete(f"{self.origin}/_sandbox/faults").raise_for_status()

    def asked(self) -> list[str]:
        """Return the paths of all requests so far."""
        entries = httpx.get(f"{self.origin}/_sandbox/requests", verify=NO_AUTHORITIES).json()
        return [entry["path"] for entry in entries]


@contextmanager
def serve(root: Path, now: datetime) -> Generator[SimulatedBinance]:
    """Serve both simulators; their clock stands at ``now`` until it is moved."""
    clock, crypto = Clock(now), CryptoWorld()
    front = Front(
        [
            BinanceSimulator(now=clock, crypto=crypto),
            BinanceFilesSimulator(now=clock, crypto=crypto),
        ],
        world=World(root),
        journal=Journal(root / "requests.jsonl"),
        now=clock,
    )
    with serving.serve(front) as origin:
        yield SimulatedBinance(origin=origin, crypto=crypto, clock=clock)
