"""`gilscope top` in a terminal, with keys: the only module that needs Textual.

Names in a capture are untrusted: all text goes through `Content`, in which markup means nothing. Colours are the
terminal's own, and nothing is told by them.
"""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING, ClassVar

from textual.app import App
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.widgets import Static

from gilscope.cli.live import MINUTE_S, Order
from gilscope.cli.output import size
from gilscope.cli.top_cut import cut
from gilscope.cli.top_text import clock, fitted, picture
from gilscope.errors import CaptureError
from gilscope.probe.launch import SUFFIX

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from textual.app import ComposeResult

    from gilscope.cli.live import Live

# How long a key waits at most while much is read.
_READ_S = 0.1
# In 24 lines there is room for four rows of each part, and then for as many stalls.
_LINES_PER_ROW = 6
_ROOMY_LINES = 30
_KEYS = "p freeze  s sort  d dump the last minute  up/down scroll stalls  ? help  q quit"
_HELP = """\
loop lag  How long iterations of an event loop took: until one ends, nothing
          else of that loop is served. Each bar is the longest one of a second
          or a few, each step twice as long; from ▅ on, they are stalls.
stalls    Iterations of the threshold and more: how long they waited for the
          GIL, ran, and were off the CPU (blocked, or without a core). Last,
          what the longest of these is due to: of a wait, the thread that had
          the GIL and the function it was in; else the loop's own function.
the GIL   Who had it, the longest hold, the function that most of it was in.
          A loop waits up to 5 ms for a thread of Python code, time and again,
          and for one in C code that keeps the GIL until that lets go.
spans     What became of those of each NativeSpanProcessor; its last requests.

p, space  Freeze: nothing moves until you press it again. Recording goes on.
s         Sort stalls and holders by time, by length, or by name.
d         Dump: write the minute that is shown to a capture beside this one.
up, down, page up, page down, home, end
          Scroll the stalls.
q, ctrl+c Quit. Recording goes on.
?         Back."""


class Screen(App[None]):
    """Shows a recording until it is told to quit.

    Args:
        live: what was read of it so far.
        source: the capture.
        beside: dumps are written into the folder of this file, and are named after it.
        interval_s: between two looks at the file.
    """

    TITLE = "gilscope top"
    ENABLE_COMMAND_PALETTE = False
    CSS = """
    Static { height: auto; text-wrap: nowrap; }
    #head, #keys { text-style: reverse; }
    #scroll { height: 1fr; scrollbar-size: 0 0; background: transparent; background-tint: transparent; }
    #help { height: 1fr; }
    #message { text-wrap: wrap; }
    .roomy #stalls-head, .roomy #holders, .roomy #spans, .roomy #loops { margin-top: 1; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("p,space", "freeze"),
        Binding("s", "sort"),
        Binding("d", "dump"),
        Binding("question_mark", "help"),
        Binding("q", "quit"),
        # Textual's own would tell of another key.
        Binding("ctrl+c", "quit", priority=True),
    ]

    def __init__(self, live: Live, source: Path, beside: Path, interval_s: float) -> None:
        super().__init__(ansi_color=True)
        self._live = live
        self._source = source
        self._beside = beside
        self._interval_s = interval_s
        self._order = Order.TIME
        self._frozen = False
        self._behind = False
        self._failure = ""
        self._shown: dict[str, Content] = {}

    def compose(self) -> ComposeResult:
        """The screen has its parts, from top to bottom."""
        yield Static(id="head")
        yield Static(id="loops", classes="part")
        yield Static(id="stalls-head", classes="part")
        with VerticalScroll(id="scroll", classes="part"):
            yield Static(id="stalls")
        yield Static(id="holders", classes="part")
        yield Static(id="spans", classes="part")
        yield Static(Content(_HELP), id="help")
        yield Static(id="message")
        yield Static(id="keys")

    def on_mount(self) -> None:
        """The recording is followed, and the terminal is left in order when the process is told to end."""
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, self.exit)
        self.query_one("#help").display = False
        self._say("")
        self.run_worker(self._follow())

    def on_resize(self) -> None:
        """The picture is as large as the terminal."""
        self._draw()

    def action_freeze(self) -> None:
        """The picture stands still, or moves again."""
        self._frozen = not self._frozen
        self._draw()

    def action_sort(self) -> None:
        """Stalls and holders are in the next order."""
        self._order = self._order.next()
        self._draw()

    def action_help(self) -> None:
        """Words say what is shown, instead of it, or no longer do."""
        shown = self.query_one("#help")
        shown.display = not shown.display
        for part in self.query(".part"):
            part.display = not shown.display

    def action_dump(self) -> None:
        """The minute that is shown is being written."""
        self._say("writing the last minute ..")
        self.run_worker(self._dump(), group="dump", exclusive=True)

    async def _follow(self) -> None:
        live = self._live
        while live.capture.end is None and not self._failure:
            if not self._frozen:
                try:
                    self._behind = not live.read(_READ_S)
                except CaptureError as error:
                    self._failure = str(error)
                self._draw()
            await asyncio.sleep(0 if self._behind and not self._frozen else self._interval_s)

    async def _dump(self) -> None:
        live = self._live
        until_ns = live.now_ns
        since_ns = until_ns - live.window_ns(MINUTE_S)
        name = f"{self._beside.name.removesuffix(SUFFIX)}.until-{clock(live, until_ns).replace(':', '')}{SUFFIX}"
        target = self._beside.with_name(name)
        try:
            await asyncio.to_thread(cut, self._source, target, live.capture.metadata, since_ns, until_ns)
        except (OSError, CaptureError) as error:
            self._say(f"not written: {error}")
        else:
            self._say(f"written ({size(target)}): gilscope report {target}")

    def _draw(self) -> None:
        width, height = self.size
        state = "FROZEN: p goes on" if self._frozen else "being read" if self._behind else ""
        shown = picture(self._live, width, height // _LINES_PER_ROW, self._order, self._failure or state)
        self.screen.set_class(height >= _ROOMY_LINES, "roomy")
        self._show("head", (), [fitted(line, width) for line in shown.head])
        self._show("loops", *shown.loops)
        self._show("stalls-head", shown.stalls.headings, ())
        self._show("stalls", (), shown.stalls.rows)
        self._show("holders", *shown.holders)
        self._show("spans", *shown.spans)
        self._show("keys", (), [fitted(_KEYS, width)])

    def _say(self, message: str) -> None:
        """The line over that of the keys says this; there is none if it is nothing."""
        self._show("message", (), [message] if message else [])
        self.query_one("#message").display = bool(message)

    def _show(self, name: str, headings: Sequence[str], rows: Sequence[str]) -> None:
        lines = [*(Content.styled(line, "bold") for line in headings), *map(Content, rows)]
        text = Content("\n").join(lines)
        before = self._shown.get(name)
        # A terminal far away gets what has changed, and no layout is computed anew while all stays in its place.
        if text != before:
            moved = before is None or before.plain.count("\n") != text.plain.count("\n")
            self.query_one(f"#{name}", Static).update(text, layout=moved)
            self._shown[name] = text
