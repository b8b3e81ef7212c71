"""What `import gilscope` gives."""

from __future__ import annotations

import subprocess
import sys

import pytest

import gilscope
from gilscope.spans.processor import NativeSpanProcessor


def test_name_on_first_use_is_loaded() -> None:
    """The public name is the class itself."""
    assert gilscope.NativeSpanProcessor is NativeSpanProcessor
    assert {"NativeSpanProcessor", "install", "uninstall", "__version__"} <= set(dir(gilscope))


def test_unknown_name_raises_attribute_error() -> None:
    """A name that is not offered is not there."""
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = gilscope.nothing


def test_import_alone_loads_no_opentelemetry() -> None:
    """`import gilscope` is free for a program that uses one part of it."""
    code = "import sys, gilscope; print([m for m in sys.modules if m.startswith(('opentelemetry', 'gilscope.'))])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['gilscope._version']"


def test_processor_import_loads_no_exporter() -> None:
    """The exporters' packages (requests, grpc, protobuf) cost more than all that gilscope needs."""
    code = (
        "import sys, opentelemetry.sdk.trace.export; before = set(sys.modules);"
        "from gilscope.spans import settings, takeover; import gilscope.spans.processor;"
        "settings.export_settings(settings.ExportArguments());"
        "slow = {'requests', 'grpc', 'google', 'ssl', 'urllib3'};"
        "print([m for m in set(sys.modules) - before if m.split('.')[0] in slow])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
