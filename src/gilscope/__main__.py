"""`python -m gilscope` is the `gilscope` command."""

from __future__ import annotations

import sys

from gilscope.cli import main

if __name__ == "__main__":
    sys.exit(main())
