"""`python -m experiments.bench e01`: run a plan, and write the experiment's summary.json and its README's figures.

Words after the name go to `gilscope bench`: `--duration 12 --repeats 6` makes it shorter, `--resume` goes on with a run
that was stopped. The run's folder is build/e01, with everything that was measured, and report.html.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

from experiments.spans.report import replace_figures

_ROOT = Path(__file__).resolve().parents[2]
_DONE = {0, 3}  # a missed threshold is an answer too


def main() -> int:
    """Return the exit status of `gilscope bench`."""
    parser = argparse.ArgumentParser(prog="python -m experiments.bench", description=__doc__)
    parser.add_argument("name", choices=sorted(plan.parent.name for plan in _ROOT.glob("experiments/*/plan.toml")))
    parser.add_argument("words", nargs=argparse.REMAINDER, help="for `gilscope bench`")
    options = parser.parse_args()
    experiment, run = _ROOT / "experiments" / options.name, Path("build", options.name)
    given = [] if "--resume" in options.words else ["--plan", f"experiments/{options.name}/plan.toml"]
    command = [sys.executable, "-m", "gilscope", "bench", *given, "--out", str(run), *options.words]
    status = subprocess.run(command, cwd=_ROOT, check=False).returncode
    if status in _DONE:
        shutil.copyfile(_ROOT / run / "summary.json", experiment / "summary.json")
        # Its own heading is the README's question.
        text = (_ROOT / run / "summary.md").read_text(encoding="utf-8")
        replace_figures(experiment / "README.md", text.partition("\n\n")[2].strip())
    return status


if __name__ == "__main__":
    sys.exit(main())
