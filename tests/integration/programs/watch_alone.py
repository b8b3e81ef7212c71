"""A watched program that never stops its watch, where OpenTelemetry cannot be imported.

python -m tests.integration.programs.watch_alone
"""

from __future__ import annotations

import atexit
import json
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


class Blocker:
    """Stands for an environment without OpenTelemetry."""

    def find_spec(self, name: str, _path: Sequence[str] | None, _target: object = None) -> None:
        """Refuse it.

        Raises:
            ModuleNotFoundError: it is OpenTelemetry's.
        """
        if name.partition(".")[0] == "opentelemetry":
            raise ModuleNotFoundError(name=name)


def main() -> None:
    """Watch, be told of a stall, and end."""
    import gilscope
    from tests.integration.programs.watch_load import block, eventually, run, stalls

    before = set(sys.modules)
    told: list[str] = []
    # Registered before, called after what the watch registers.
    atexit.register(lambda: print(json.dumps({**said, "running": watch.running})))  # noqa: T201
    watch = gilscope.watch(on_stall=lambda stall: told.append(str(stall)))
    loaded = {name.partition(".")[0] for name in set(sys.modules) - before}
    run(stalls(block, 0.04, 1))
    eventually(lambda: told)
    said = {"told": told, "loaded": sorted(loaded), "stalls": watch.totals().loops["MainThread"].stalls}


if __name__ == "__main__":
    sys.meta_path.insert(0, Blocker())
    main()
