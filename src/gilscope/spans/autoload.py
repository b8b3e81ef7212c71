"""The entry point that opentelemetry-instrument runs: after distro and configurator, before the instrumentors.

By then a provider exists, if OTEL_TRACES_EXPORTER, a distro or OTEL_CONFIG_FILE asked for one.
"""

from __future__ import annotations

import logging

logger = logging.getLogger(__name__)


def activate() -> None:
    """Pairs of BatchSpanProcessor and OTLPSpanExporter export natively, unless GILSCOPE_SPANS is off. Never raises."""
    try:
        from gilscope.spans.swap import install

        logger.info("gilscope: %s", install())
    except Exception:
        logger.exception("gilscope could not be activated; spans go on being exported as before")
