"""What an analysis says of the spans that left the process."""

from __future__ import annotations

from gilscope.analysis import analyse
from gilscope.analysis.model import Exports
from gilscope.capture import EventKind
from gilscope.report import as_json, page_capture, text
from gilscope.report.timeline import timeline
from tests.made_capture import MS, MadeCapture


def exporting() -> MadeCapture:
    """Return a capture of two processors and three requests, of which one was not accepted in full."""
    made = MadeCapture()
    made.export(0, 20, spans=100)
    made.spans(20, queued=40, exported=100)
    made.event(EventKind.SPANS, 0, 21, 0, count=1, a=30, b=2)
    made.export(30, 90, spans=40, refused=15)
    made.spans(90, queued=5, exported=125, dropped=7, failed=15)
    made.event(EventKind.SPANS, 0, 91, 0, count=2, a=1000, b=2)
    made.export(95, 96, spans=10)
    return made


def test_exports_of_two_processors_are_added_up() -> None:
    """Requests by themselves; the last count of each processor; the most that were queued in both at once."""
    assert analyse(exporting()).exports == Exports(
        requests=3,
        requests_not_accepted=1,
        sent_spans=150,
        sent_bytes=15_000,
        refused_spans=15,
        longest_request_ns=60 * MS,
        queued_most_spans=70,
        exported_spans=1125,
        dropped_spans=7,
        failed_spans=15,
    )


def test_reports_tell_of_exports_where_there_are_any() -> None:
    """Page, text and JSON; a capture without exports has no empty section."""

    def reports(made: MadeCapture) -> tuple[str, str]:
        analysis = analyse(made)
        return text.render(analysis), page_capture.render(analysis, timeline(made, analysis), "shop", "a test")

    for report in reports(exporting()):
        assert "3, 1 of them not accepted in full" in report
        assert "150, 15 refused" in report
    assert not any("Spans exported" in report for report in reports(MadeCapture()))
    assert as_json.to_dict(analyse(exporting()))["exports"]["dropped_spans"] == 7
    assert as_json.to_dict(analyse(MadeCapture()))["exports"] is None
