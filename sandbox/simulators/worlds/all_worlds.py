"""All simulated worlds: the source of all providers' simulators.

Here: which worlds there are, over one folder. Not here: any of them, or what is true
(../truths.py).
"""

from pathlib import Path

from sandbox.simulators.worlds.crypto.world import CryptoWorld
from sandbox.simulators.worlds.fundamentals.world import Fundamentals
from sandbox.simulators.worlds.macro.world import MacroWorld
from sandbox.simulators.worlds.shares.actions import Actions
from sandbox.simulators.worlds.shares.world import World


class Worlds:
    """The worlds over one folder, one object each, so that all see a change.

    Args:
        root: Folder in which changes are kept.
    """

    def __init__(self, root: Path) -> None:
        self.shares = World(root)
        self.actions = Actions(self.shares)
        self.fundamentals = Fundamentals(self.shares, root)
        self.crypto = CryptoWorld()
        self.macro = MacroWorld(root / "macro")
