"""What `gilscope record` puts first into PYTHONPATH: starts the recording, then steps aside for whom it shadows.

It runs in every Python of the recorded program and its descendants, of any version, with gilscope installed or not.
PYTHONPATH stays as it is, so that descendants find this file too; `sys.path` is as it would be without it.
"""  # noqa: INP001  # no package: a directory for PYTHONPATH with this file alone

import importlib
import os
import sys


def start() -> None:
    """The recording runs, or the process goes on without one; what came in between is for `gilscope record` to tell."""
    try:
        from gilscope.probe import launch
    except ImportError as error:
        reason = f"it has no gilscope: {sys.executable} -m pip install gilscope"
        if error.name != "gilscope":
            reason = f"its gilscope cannot record: {error}"
        note(f"{sys.executable} was not recorded, {reason}")
    else:
        launch.start()


def note(text: str) -> None:
    """`gilscope record` can read the text."""
    try:
        with open(os.environ["GILSCOPE_RECORD_NOTES"], "a", encoding="utf-8") as notes:  # noqa: PTH123  # loads less
            notes.write(f"{text}\n")
    except (KeyError, OSError):
        pass  # not started by `gilscope record`, or as another user: the host goes on either way


def step_aside() -> None:
    """The `sitecustomize` that this one shadows has run and has its name; what it raises is for `site` to report."""
    here = os.path.dirname(__file__)  # noqa: PTH120  # loads less
    sys.path[:] = [entry for entry in sys.path if entry != here]
    own = sys.modules.pop("sitecustomize")
    try:
        importlib.import_module("sitecustomize")
    except ImportError as error:
        if error.name != "sitecustomize":
            raise
    finally:
        sys.modules.setdefault("sitecustomize", own)


try:
    start()
except Exception as unexpected:  # noqa: BLE001  # a recording is never worth the host
    sys.stderr.write(f"gilscope: not recorded: {unexpected!r}\n")
step_aside()
