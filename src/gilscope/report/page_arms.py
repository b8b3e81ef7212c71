"""What the page of an experiment says of why loops stalled: all arms' captures, and py-spy's pictures beside them."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain, zip_longest
from typing import TYPE_CHECKING
from urllib.parse import quote

from gilscope.analysis import places
from gilscope.analysis.durations import counted, percent, spoken
from gilscope.report import flamegraph, page, parts_bars
from gilscope.report.markup import Markup, element
from gilscope.report.page_data import as_script, compared_data, flame_data
from gilscope.report.stack_lines import Files
from gilscope.report.words import capitalised

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from gilscope.analysis.model import Analysis, Collection, LoopAccount, Stall
    from gilscope.capture import Stack

_HOLDERS = 3
_WORST = 10
# In the picture for readers without scripts, which carries its stacks a second time.
_STILL_STACKS = 40
# So that the page, with everything else on it, stays under 5 MB.
_FLAME_BYTES, _PY_SPY_BYTES = 2_500_000, 1_500_000
_BASE64 = 4 / 3
# The change between these two is shown, where both were watched.
_COMPARED = ("batch", "native")


@dataclass(frozen=True)
class Picture:
    """One of py-spy's.

    Attributes:
        words: what it is of.
        path: of the file, from where the experiment's page will be.
        svg: what is in the file; untrusted, and it has a script.
    """

    words: str
    path: str
    svg: str


@dataclass(frozen=True)
class Watched:
    """What the probe and py-spy saw of one arm at one point, in cells of their own.

    Attributes:
        point: its levels; none where the plan has no factors.
        analysis: of the probe's capture; None without one.
        page: of that capture, as a path from where the experiment's page will be; None without one.
        pictures: py-spy's.
        dumps: what came of py-spy's dumps of single stalls, in words.
        dumps_path: of the file with them; None without one.
    """

    arm: str
    point: Mapping[str, object]
    analysis: Analysis | None = None
    page: str | None = None
    pictures: Sequence[Picture] = ()
    dumps: Sequence[str] = ()
    dumps_path: str | None = None

    @property
    def name(self) -> str:
        """The arm and its point: unique on the page."""
        return f"{self.arm}{levels(self.point)}"

    @property
    def loop(self) -> LoopAccount | None:
        """The loop that was stalled longest."""
        return self.analysis.loops[0] if self.analysis and self.analysis.loops else None

    def link(self, words: str, fragment: str = "") -> Markup | str:
        """Return the words, as a link to the capture's page where there is one."""
        return element("a", words, href=quote(self.page) + fragment) if self.page else words


class _Room:
    """Bytes that the page still has for something."""

    def __init__(self, left: int) -> None:
        self._left = left

    def has(self, wanted: int) -> bool:
        """Return whether so many bytes are left, and take them."""
        if wanted > self._left:
            return False
        self._left -= wanted
        return True


def levels(point: Mapping[str, object]) -> str:
    """Return a point in words that follow what was there: ` at users 10, loop uvloop`; empty without factors."""
    told = ", ".join(f"{name} {value}" for name, value in point.items())
    return f" at {told}" if told else ""


def sections(watched: Iterable[Watched]) -> Iterator[Markup]:
    """Yield the sections that stand between latency and cost; none where nothing was watched."""
    points: dict[str, list[Watched]] = {}
    for one in watched:
        points.setdefault(levels(one.point), []).append(one)
    seen = {point: [one for one in arms if one.analysis] for point, arms in points.items()}
    seen = {point: arms for point, arms in seen.items() if arms}
    if seen:
        yield page.section("Timeline", *_timelines(seen), identity="timeline")
        yield page.section("Where the loop's time went, per arm", *_times(seen), identity="time")
    if points:
        yield page.section("Flame graphs of the stalls, per arm", *_flames(points), identity="flames")
    if seen:
        yield page.section("Worst stalls of all arms", *_worst(list(chain.from_iterable(seen.values()))))
        yield page.section("Findings, per arm", *_findings(seen))


def _timelines(seen: Mapping[str, Sequence[Watched]]) -> Iterator[Markup]:
    yield element(
        "p",
        "Each arm was watched by the probe once more, in a cell that is in no figure above. The page of that capture "
        "has its timeline: iterations, stalls, who had the GIL and who waited for it.",
    )
    yield element(
        "ul",
        *(
            element(
                "li",
                element("strong", one.link(one.name)),
                f": {one.analysis.verdict}." if one.analysis else "",
            )
            for one in chain.from_iterable(seen.values())
        ),
    )


def _times(seen: Mapping[str, Sequence[Watched]]) -> Iterator[Markup]:
    yield page.how_to_read(
        "An iteration is what the loop does between two polls. Its time is divided, exactly, into waiting for the GIL, "
        "running, and being off the CPU; the shares are of the whole recording, so that arms compare. An iteration "
        "over the threshold is a stall. Of several loops in a process, the one that was stalled longest is shown.",
        "Blocked is a system call or a lock; no core is a machine that is too busy (known for stalls alone); "
        "unattributed is off the CPU for a reason that was not recorded.",
        "The picture has the same: on the left all iterations, on the right, on a scale of its own, only those that "
        "were stalls. An arm that waits for the GIL where the others do not pays for another thread's Python code.",
    )
    for point, arms in seen.items():
        with_loop = [(one, one.analysis, one.loop) for one in arms if one.analysis and one.loop]
        if without := [one.arm for one in arms if not one.loop]:
            yield element("p", f"No event loop was seen of {', '.join(without)}{point}.")
        if not with_loop:
            continue
        bars = [
            parts_bars.Bar(one.arm, loop.parts, loop.stall_parts, analysis.facts.duration_ns)
            for one, analysis, loop in with_loop
        ]
        words = f"Where the loop's time went, per arm{point}; the table below has the same in numbers"
        yield page.picture(parts_bars.render(bars), words)
        yield page.table(
            f"Where the loop's time went{point}: shares of the recording",
            ("arm", "loop busy", *parts_bars.PARTS.values()),
            (_shares(one.arm, analysis, loop) for one, analysis, loop in with_loop),
        )
        yield page.table(
            f"Stalls and iterations{point}",
            ("arm", "stalls a minute", "time stalled", "longest iteration", "p99 of iterations"),
            (_stalls(one.arm, analysis, loop) for one, analysis, loop in with_loop),
        )
        yield page.table(
            f"Who held the GIL while the loop waited for it{point}",
            ("arm", *(f"number {rank + 1}" for rank in range(_HOLDERS))),
            ((one.arm, *_holders(loop)) for one, _, loop in with_loop),
            numbers=_HOLDERS + 1,
        )


def _shares(arm: str, analysis: Analysis, loop: LoopAccount) -> Iterator[str]:
    yield arm
    for ns in (loop.iterations.total_ns, *(getattr(loop.parts, part) for part in parts_bars.PARTS)):
        yield percent(ns, analysis.facts.duration_ns)


def _stalls(arm: str, analysis: Analysis, loop: LoopAccount) -> Iterator[str]:
    yield arm
    yield f"{loop.stalls.count / max(analysis.facts.duration_ns, 1) * 60e9:,.0f}"
    yield percent(loop.stalls.total_ns, analysis.facts.duration_ns)
    yield spoken(loop.iterations.max_ns)
    yield spoken(loop.iterations.p99_ns)


def _holders(loop: LoopAccount) -> Iterator[str]:
    held = loop.parts.held_by[:_HOLDERS]
    for one in held:
        yield f"{one.name}: {spoken(one.ns)}, {percent(one.ns, loop.parts.gil_wait_ns)} of the waiting"
    for rank in range(len(held), _HOLDERS):
        yield "" if rank else "nobody: no wait for it"


def _flames(points: Mapping[str, Sequence[Watched]]) -> Iterator[Markup]:
    yield page.how_to_read(
        "Width is stalled time, in milliseconds and not in samples. Below each cause are the threads, and below each "
        "thread its frames, callers above what they call. Under `waiting for the GIL` are the stacks of the threads "
        "that held it; under the other causes those of the loop itself. Click a frame, or press Enter on it, to zoom; "
        "Escape leads back.",
        "The graph of a change has both arms in one. Width is the larger of the two stalled times, of each second of "
        "recording. Red is more in the first arm than in the second, blue with stripes is less, grey is the same; "
        "the table below it has the changes as numbers with a sign.",
        "py-spy's pictures are of the whole block, not of its stalls: they count samples of where threads were, or "
        "which had the GIL, say nothing of who waited, and cannot be matched to single stalls. py-spy stops the server "
        "for each sample, so it has cells of its own, which are in no figure.",
    )
    room = _Room(_FLAME_BYTES)
    embedded = _embedded(chain.from_iterable(points.values()))
    for number, (point, arms) in enumerate(points.items()):
        changed = _pair([one for one in arms if one.analysis])
        if changed:
            yield _folded(
                f"Change: {changed[0].arm} against {changed[1].arm}{point}", _change(*changed, room), open_=number == 0
            )
        for one in arms:
            yield _folded(one.name, chain(_flame(one, room), _py_spy(one, embedded), _dumps(one)), open_=False)


def _embedded(watched: Iterable[Watched]) -> set[str]:
    """Return the paths of the pictures that there is room for: the first of every arm before the second of any."""
    room = _Room(_PY_SPY_BYTES)
    ranked = zip_longest(*(one.pictures for one in watched))
    return {
        drawn.path
        for drawn in chain.from_iterable(ranked)
        if drawn and room.has(round(len(drawn.svg.encode()) * _BASE64))
    }


def _folded(title: str, parts: Iterable[str], *, open_: bool) -> Markup:
    return element("details", element("summary", title), *parts, class_="flame", open=open_)


def _pair(arms: Sequence[Watched]) -> tuple[Watched, Watched] | None:
    """Return which two arms are compared; None where there is no change to show."""
    by_name = {one.arm: one for one in arms}
    found = [by_name[arm] for arm in _COMPARED if arm in by_name]
    one, other = found if len(found) == len(_COMPARED) else (*arms, None, None)[:2]
    stalled = any(each.analysis.stall_stacks for each in (one, other) if each and each.analysis)
    return (one, other) if one and other and stalled else None


def _change(one: Watched, other: Watched, room: _Room) -> Iterator[Markup]:
    if one.analysis is None or other.analysis is None:
        return
    data = compared_data(one.analysis, other.analysis)
    if room.has(len(as_script(data))):
        yield page.flame_graph(data, name=f"{one.name} against {other.name}")
        yield element("noscript", element("p", "The graph of the change needs scripts."))
    else:
        yield _left_out("The graph of the change", one.link(f"the page about {one.name}"))


def _flame(one: Watched, room: _Room) -> Iterator[Markup]:
    analysis = one.analysis
    if analysis is None:
        yield element("p", "The probe did not watch this arm.")
        return
    yield element("p", f"{capitalised(analysis.verdict)}. ", one.link("The page about this capture"))
    if not analysis.stall_stacks:
        return
    data = flame_data(analysis)
    heaviest = analysis.stall_stacks[:_STILL_STACKS]
    words = f"The {len(heaviest)} heaviest of {counted(len(analysis.stall_stacks), 'stack')} of the stalls"
    still = page.picture(
        flamegraph.render(heaviest, title=f"Stalls of {one.name}", subtitle=words),
        f"{words} of {one.name}, as a flame graph",
    )
    if room.has(len(as_script(data)) + len(still)):
        yield page.flame_graph(data, name=one.name)
        yield element("noscript", still)
    else:
        yield _left_out("The flame graph", one.link("the page about this capture"))


def _py_spy(one: Watched, embedded: set[str]) -> Iterator[Markup]:
    for drawn in one.pictures:
        words = f"py-spy, of the whole block: {drawn.words}"
        link = element("a", "the picture alone, which one can search and zoom", href=quote(drawn.path))
        yield element("h3", words)
        if drawn.path in embedded:
            yield page.picture(drawn.svg, f"{words}; {one.name}")
            yield element("p", "Not of the stalls alone. There is also ", link, ".", class_="quiet")
        else:
            yield _left_out("It", link)


def _dumps(one: Watched) -> Iterator[Markup]:
    if one.dumps_path:
        link = element("a", "the dumps", href=quote(one.dumps_path))
        yield element("p", f"{capitalised('; '.join(one.dumps))} (", link, ").")


def _left_out(what: str, link: str) -> Markup:
    return element("p", f"{what} is left out here, so that this page stays under 5 MB: see ", link, ".")


def _worst(seen: Sequence[Watched]) -> Iterator[Markup]:
    every = [
        (stall, number, one) for one in seen if one.analysis for number, stall in enumerate(one.analysis.stalls, 1)
    ]
    every.sort(key=lambda entry: -entry[0].wall_ns)
    if not every:
        yield element("p", "No arm had any.")
        return
    shown = every[:_WORST]
    stacks = [[stack for stack, _ in _above_all(stall)[1]] for stall, _, _ in shown]
    files = Files(chain.from_iterable(stacks))
    count = sum(one.analysis.stall_count for one in seen if one.analysis)
    yield page.table(
        f"The longest {len(shown)} of {counted(count, 'stall')}",
        ("arm", "what it was", "length", "began after"),
        (
            (
                one.name,
                _what(stall, files),
                one.link(spoken(stall.wall_ns), f"#stall={number}"),
                f"{stall.since_start_ns / 1e9:.3f} s",
            )
            for stall, number, one in shown
        ),
        numbers=2,
    )


def _above_all(stall: Stall) -> tuple[str, list[tuple[Stack, int]]]:
    """Return the largest part of a stall in words, and the stacks that were seen in it."""
    parts = stall.parts
    collection: Collection | None = max(stall.collections, key=lambda one: one.duration_ns, default=None)
    if collection and 2 * collection.duration_ns >= stall.wall_ns:
        return f"{spoken(collection.duration_ns)} of garbage collection, generation {collection.generation}", []
    holders = [holder for wait in stall.waits for holder in wait.holders]
    held_by = f", held by {parts.held_by[0].name}" if parts.held_by else ""
    kinds = [
        (parts.gil_wait_ns, f"GIL wait{held_by}", [(holder.stack, holder.ns) for holder in holders]),
        (parts.on_cpu_ns, "computing", [(time.stack, time.ns) for time in stall.on_cpu]),
        (parts.blocked_ns, "blocked", [(time.stack, time.ns) for time in stall.blocked]),
        (parts.no_core_ns, "without a core", []),
        (parts.unattributed_ns, "off the CPU for an unknown reason", []),
    ]
    ns, words, stacks = max(kinds, key=lambda kind: kind[0])
    return f"{spoken(ns)} {words}", stacks


def _what(stall: Stall, files: Files) -> str:
    words, stacks = _above_all(stall)
    frame = places.mostly_in(stacks)
    return f"{words} in {files.name(frame)}" if frame else words


def _findings(seen: Mapping[str, Sequence[Watched]]) -> Iterator[Markup]:
    remedies: dict[str, str] = {}
    for point, arms in seen.items():
        stolen: dict[str, dict[str, int]] = {}
        for one in arms:
            for finding in one.analysis.findings if one.analysis else ():
                title = capitalised(finding.title)
                remedies.setdefault(title, finding.remedy)
                row = stolen.setdefault(title, {})
                row[one.arm] = row.get(one.arm, 0) + finding.stolen_ns
        if not stolen:
            yield element("p", f"None: no arm stalled long enough{point}.")
            continue
        most = sorted(stolen.items(), key=lambda item: -max(item[1].values()))
        yield page.table(
            f"Stalled time that each finding explains{point}, and its share of the arm's",
            ("finding", *(one.arm for one in arms)),
            ((title, *(_explained(row.get(one.arm, 0), one.analysis) for one in arms)) for title, row in most),
        )
    if remedies:
        yield element("p", "Findings look at the same time from several sides: they do not sum up.", class_="quiet")
        yield element("h3", "What to do")
        yield element(
            "ul", *(element("li", element("strong", f"{title}: "), remedy) for title, remedy in remedies.items())
        )


def _explained(ns: int, analysis: Analysis | None) -> str:
    return f"{spoken(ns)}, {percent(ns, analysis.stalled_ns)}" if ns and analysis else "none"
