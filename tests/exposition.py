"""Reads Prometheus' text format, strictly, and knows nothing of what wrote it.

Source: https://prometheus.io/docs/instrumenting/exposition_formats/
"""

from __future__ import annotations

import re

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]

_NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
_HELP = re.compile(rf"# HELP ({_NAME}) (.*)")
_TYPE = re.compile(rf"# TYPE ({_NAME}) (counter|gauge|histogram|summary|untyped)")
_SAMPLE = re.compile(rf"({_NAME})(?:\{{(.*)\}})? (\S+)")
_LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\[\\"n])*)"(?:,|$)')
_UNESCAPED = {r"\\": "\\", r"\"": '"', r"\n": "\n"}
_OF_HISTOGRAM = re.compile(r"_(?:bucket|sum|count)$")


def parsed(text: str) -> Samples:
    """Return every sample by its name and labels.

    Raises:
        AssertionError: the text is none, or a sample has no HELP and TYPE before it, or is there twice.
    """
    samples: Samples = {}
    helped: set[str] = set()
    kinds: dict[str, str] = {}
    assert text.endswith("\n")
    for line in text[:-1].split("\n"):
        if found := _HELP.fullmatch(line):
            assert found[1] not in helped
            helped.add(found[1])
        elif found := _TYPE.fullmatch(line):
            assert found[1] not in kinds
            kinds[found[1]] = found[2]
        else:
            found = _SAMPLE.fullmatch(line)
            assert found, line
            name, labels = found[1], _labels(found[2] or "")
            family = name if name in kinds else _OF_HISTOGRAM.sub("", name)
            assert family in helped
            assert kinds[family] == ("histogram" if family != name else "counter")
            assert (name, labels) not in samples
            samples[name, labels] = float(found[3])
    return samples


def _labels(text: str) -> frozenset[tuple[str, str]]:
    found, at = [], 0
    while at < len(text):
        label = _LABEL.match(text, at)
        assert label, text
        value = re.sub(r"\\.", lambda escape: _UNESCAPED[escape[0]], label[2])
        found.append((label[1], value))
        at = label.end()
    return frozenset(found)
