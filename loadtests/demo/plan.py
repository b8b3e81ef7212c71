"""What will be run: which blocks in which order, how many requests in each, and on which cores."""

from __future__ import annotations

import os
from dataclasses import dataclass

from loadtests.demo.arms import Arm
from loadtests.demo.load import SECONDS_PER_REQUEST_OF_A_USER

# Each arm comes as often before the others as after them, so that a machine that warms up favours none.
BLOCKS = (Arm.STOCK, Arm.NATIVE, Arm.NONE, Arm.NONE, Arm.NATIVE, Arm.STOCK)
BLOCKS_PER_ARM = 2


@dataclass(frozen=True, kw_only=True)
class Cores:
    """Where each process may run; None is anywhere."""

    server: int | None
    load: int | None
    sink: int | None

    @classmethod
    def here(cls) -> Cores:
        """Return one core for the server alone, and others for the rest, as far as this machine has them."""
        allowed = sorted(os.sched_getaffinity(0))
        if len(allowed) == 1:
            return cls(server=None, load=None, sink=None)
        # Not the first: that is the one that takes most interrupts.
        return cls(server=allowed[-1], load=allowed[0], sink=allowed[-2])

    def sentence(self) -> str:
        """Return the same in words."""
        if self.server is None:
            return "one core for everything, so server, load and receiver disturb each other"
        if self.load == self.sink:
            return f"the server alone on core {self.server}, load and receiver on core {self.load}"
        return f"the server alone on core {self.server}, load on core {self.load}, receiver on core {self.sink}"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """One demo.

    Attributes:
        requests: For each arm, in all its blocks together, the warm-up left out.
        users: Each sends a request every two seconds, on average.
        loop: "uvloop" or "asyncio".
        port: Of the server; 0 is any.
        warm_up_s: How long each fresh server gets requests that do not count.
    """

    requests: int
    users: int
    loop: str
    port: int
    warm_up_s: float
    cores: Cores

    @property
    def requests_per_second(self) -> float:
        """How many arrive, whatever happens to them."""
        return self.users / SECONDS_PER_REQUEST_OF_A_USER

    @property
    def warm_up_requests(self) -> int:
        """For each block."""
        return max(10, round(self.warm_up_s * self.requests_per_second))

    def requests_of_block(self, number: int) -> int:
        """Return the requests of an arm's first (0) or second (1) block."""
        return (self.requests + number) // BLOCKS_PER_ARM

    @property
    def expected_seconds(self) -> float:
        """About how long it will take: two seconds a block for starting, flushing and stopping."""
        requests = self.requests / BLOCKS_PER_ARM + self.warm_up_requests
        return len(BLOCKS) * (2.0 + requests / self.requests_per_second)
