"""Headers from the environment, compared with upstream's own parser."""

from __future__ import annotations

import inspect

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.util.re import parse_env_headers

from gilscope.spans import headers

PIECES = st.text(st.sampled_from("abK1%20=,; \t\"'-_.\\é/:(%2C"), max_size=30)


@pytest.mark.skipif(
    "liberal" not in inspect.signature(parse_env_headers).parameters, reason="this version has no liberal rules"
)
@given(st.lists(PIECES, max_size=4).map(",".join))
def test_variable_is_parsed_as_upstream_parses_it(text: str) -> None:
    """The parser is our own because upstream's logs what it cannot parse; what it parses must be the same."""
    assert headers.parse_variable(text, "V") == parse_env_headers(text, liberal=True)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a=b", {"a": "b"}),
        ("A = b%20c ,d=e=f", {"a": "b c", "d": "e=f"}),
        ("authorization=Basic dXNlcg==", {"authorization": "Basic dXNlcg=="}),
        ("empty=", {"empty": ""}),
    ],
)
def test_well_formed_variable_gives_headers(text: str, expected: dict[str, str]) -> None:
    """The forms that vendors document."""
    assert headers.parse_variable(text, "V") == expected


def test_malformed_header_is_named_by_place(caplog: pytest.LogCaptureFixture) -> None:
    """By place and variable, never by content."""
    assert headers.parse_variable("a=1,secret,b=2", "OTEL_EXPORTER_OTLP_HEADERS") == {"a": "1", "b": "2"}
    assert "Header 2 of OTEL_EXPORTER_OTLP_HEADERS" in caplog.text
    assert "secret" not in caplog.text


def test_transports_own_headers_are_left_out() -> None:
    """What the transport writes cannot be given, and gRPC's reserved names cannot either."""
    pairs = [("content-type", "x"), ("content-encoding", "gzip"), ("te", "x"), ("grpc-timeout", "1S"), ("k", "v")]
    assert [name for name, _ in headers.for_request(pairs, grpc=True)] == ["user-agent", "k"]
    assert [name for name, _ in headers.for_request(pairs, grpc=False)] == ["user-agent", "grpc-timeout", "k"]
