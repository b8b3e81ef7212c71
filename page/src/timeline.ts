// The timeline: lanes on a canvas. Own code and not uPlot: that one draws series of points, and these are intervals, of
// which thousands lie below one pixel. They would be drawn by our own code in its hooks; what it gives is the axis.
import { moment, spoken } from "./durations";
import { button, colour, inNextFrame, make, sized, striped, whenLooksChange } from "./elements";
import type { Data, Lane, Stall, Stretch, Timeline } from "./model";

const LANE = 26;
const GAP = 5;
const AXIS = 22;
const OVERVIEW = 30;
const WITHOUT_LENGTH = new Set<Lane["kind"]>(["collections", "refusals"]);
const SHORTEST_NS = 20_000;

interface Options {
  view: Stretch | null;
  stretch: Stretch | null;
  onView: (view: Stretch | null) => void;
  onStretch: (stretch: Stretch | null) => void;
  onStall: (place: number) => void;
}

/** A lane unpacked; times in nanoseconds. */
interface Unpacked {
  label: string;
  kind: Lane["kind"];
  starts: Float64Array;
  ends: Float64Array;
  /** The longest span: how far before the view one may begin that reaches into it. */
  longest: number;
  covered: Uint8Array;
}

const LABEL =
  "Timeline of the loop and the GIL. Left and right move, plus and minus zoom, Home shows everything, " +
  "Shift with left and right selects a stretch, Enter opens the worst stall in view, Escape drops the selection.";

export function startTimeline(
  data: Data,
  timeline: Timeline,
  stalls: Stall[],
  host: HTMLElement,
  options: Options,
): { mark: (place: number | null) => void } {
  const whole: Stretch = { from_ns: 0, until_ns: Math.max(data.duration_ns, 1) };
  const lanes = timeline.lanes.map((lane) => unpack(lane, timeline, whole.until_ns));
  let view = options.view ?? whole;
  let stretch = options.stretch;
  let marked: number | null = null;
  const canvas = make("canvas", { tabindex: "0", role: "application", "aria-label": LABEL, class: "timeline" });
  const told = make("output", { class: "told", "aria-live": "polite" });
  const overview = make("canvas", { class: "overview", "aria-hidden": "true" });
  host.append(
    make(
      "div",
      { class: "tools" },
      button("−", "Zoom out", () => zoom(2, 0.5)),
      button("+", "Zoom in", () => zoom(0.5, 0.5)),
      button("‹", "Earlier", () => pan(-0.3)),
      button("›", "Later", () => pan(0.3)),
      button("All", "Show the whole recording", () => show(whole)),
      button("Zoom to selection", "Show the selected stretch", () => stretch && show(stretch)),
      button("Drop selection", "Show everything below again", () => select(null)),
    ),
    overview,
    canvas,
    told,
  );
  const draw = inNextFrame(paint);
  const gutter = () => (canvas.clientWidth < 600 ? 0 : 230);
  const plotWidth = () => Math.max(50, canvas.clientWidth - gutter());
  const x = (ns: number) => gutter() + ((ns - view.from_ns) / (view.until_ns - view.from_ns)) * plotWidth();
  const at = (px: number) => view.from_ns + ((px - gutter()) / plotWidth()) * (view.until_ns - view.from_ns);

  function show(wanted: Stretch): void {
    const length = Math.min(Math.max(wanted.until_ns - wanted.from_ns, SHORTEST_NS), whole.until_ns);
    const from_ns = Math.max(0, Math.min(wanted.from_ns, whole.until_ns - length));
    view = { from_ns, until_ns: from_ns + length };
    options.onView(length === whole.until_ns ? null : view);
    tell();
    draw();
  }

  function zoom(factor: number, share: number): void {
    const length = (view.until_ns - view.from_ns) * factor;
    const fixed = view.from_ns + (view.until_ns - view.from_ns) * share;
    show({ from_ns: fixed - length * share, until_ns: fixed + length * (1 - share) });
  }

  function pan(share: number): void {
    const step = (view.until_ns - view.from_ns) * share;
    show({ from_ns: view.from_ns + step, until_ns: view.until_ns + step });
  }

  function select(wanted: Stretch | null): void {
    stretch = wanted;
    options.onStretch(stretch);
    tell();
    draw();
  }

  function tell(): void {
    const step = (view.until_ns - view.from_ns) / 100;
    const words = [`Shown: ${moment(view.from_ns, step)} to ${moment(view.until_ns, step)}`];
    if (stretch) {
      const span = stretch.until_ns - stretch.from_ns;
      words.push(`selected: ${spoken(span)} from ${moment(stretch.from_ns, span / 100)}; what is below is of this stretch`);
    }
    told.textContent = `${words.join("; ")}.`;
  }

  function paint(): void {
    paintOverview();
    const narrow = gutter() === 0;
    const rowHeight = LANE + GAP + (narrow ? 15 : 0);
    const height = AXIS + lanes.length * rowHeight + 4;
    const context = sized(canvas, height);
    const width = canvas.clientWidth;
    const ink = colour("ink");
    context.font = "12px system-ui, sans-serif";
    context.textBaseline = "middle";
    paintAxis(context, height);
    const topOf = (place: number) => AXIS + place * rowHeight + (narrow ? 15 : 0);
    lanes.forEach((lane, place) => {
      const top = topOf(place);
      context.fillStyle = colour("lane");
      context.fillRect(gutter(), top, plotWidth(), LANE);
      paintLane(context, lane, top);
    });
    for (const [place, stall] of stalls.entries()) {
      if (place !== marked) continue;
      context.strokeStyle = ink;
      context.lineWidth = 2;
      const left = Math.max(gutter(), x(stall.start_ns));
      const right = Math.min(width, x(stall.start_ns + stall.wall_ns));
      if (right >= gutter() && left <= width) context.strokeRect(left - 1, AXIS, Math.max(3, right - left) + 2, height - AXIS - 2);
    }
    if (stretch) {
      const [left, right] = [Math.max(gutter(), x(stretch.from_ns)), Math.min(width, x(stretch.until_ns))];
      context.fillStyle = colour("veil");
      if (left > gutter()) context.fillRect(gutter(), 0, Math.min(left, width) - gutter(), height);
      if (right < width) context.fillRect(Math.max(right, gutter()), 0, width - Math.max(right, gutter()), height);
    }
    // Last: on a phone the veil lies over them.
    context.fillStyle = ink;
    lanes.forEach(({ label }, place) => {
      const top = topOf(place);
      context.save();
      context.beginPath();
      if (narrow) context.rect(0, top - 15, width, 15);
      else context.rect(0, top, gutter() - 8, LANE);
      context.clip();
      context.fillText(label, 2, narrow ? top - 7 : top + LANE / 2);
      context.restore();
    });
  }

  function paintAxis(context: CanvasRenderingContext2D, height: number): void {
    const length = view.until_ns - view.from_ns;
    const rough = (length / plotWidth()) * 110;
    const power = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 5, 10].map((factor) => factor * power).find((each) => each >= rough) ?? rough;
    for (let tick = Math.ceil(view.from_ns / step) * step; tick <= view.until_ns; tick += step) {
      context.fillStyle = colour("line");
      context.fillRect(Math.round(x(tick)), 14, 1, height);
      context.fillStyle = colour("quiet");
      const text = moment(tick, step);
      const wide = context.measureText(text).width;
      context.fillText(text, Math.min(x(tick) + 3, canvas.clientWidth - wide), 8);
    }
  }

  function paintLane(context: CanvasRenderingContext2D, lane: Unpacked, top: number): void {
    const [left, right] = [gutter(), gutter() + plotWidth()];
    const usual = lane.kind === "refusals" ? striped(context, colour("lane"), colour(lane.kind)) : colour(lane.kind);
    context.fillStyle = usual;
    // What was merged, one pixel column after the other: as high as much of it was covered.
    const perPixel = (view.until_ns - view.from_ns) / plotWidth() / timeline.cell_ns;
    const first = view.from_ns / timeline.cell_ns;
    const columns = new Path2D();
    for (let px = 0; px < plotWidth(); px++) {
      const from = Math.max(0, Math.floor(first + px * perPixel));
      const until = Math.min(lane.covered.length, Math.max(from + 1, Math.floor(first + (px + 1) * perPixel)));
      let sum = 0;
      for (let cell = from; cell < until; cell++) sum += lane.covered[cell] ?? 0;
      const high = until > from ? (LANE * sum) / (255 * (until - from)) : 0;
      if (high > 0.2) columns.rect(left + px, top + LANE - Math.max(1, high), 1, Math.max(1, high));
    }
    context.fill(columns);
    // Exact ones; those within one pixel are drawn once.
    let drawn = -1;
    for (let place = lowerBound(lane.starts, view.from_ns - lane.longest); place < lane.starts.length; place++) {
      const [start, end] = [lane.starts[place] ?? 0, lane.ends[place] ?? 0];
      if (start > view.until_ns) break;
      if (end < view.from_ns) continue;
      const stalled = lane.kind === "iterations" && end - start >= data.threshold_ns;
      const from = Math.max(left, x(start));
      const shown = stalled || lane.kind === "refusals";
      const until = Math.min(right, Math.max(x(end), from + (shown ? 2 : 1)));
      if (until <= drawn && !shown) continue;
      drawn = until;
      context.fillStyle = stalled ? colour("stall") : usual;
      context.fillRect(from, top, until - from, LANE);
      if (until - from > 48 && !WITHOUT_LENGTH.has(lane.kind)) {
        context.fillStyle = colour(stalled || lane.kind === "exports" ? "on-stall" : "on-lane");
        context.fillText(spoken(end - start), from + 4, top + LANE / 2);
      } else if (until - from > 3) {
        // Neighbours stay apart.
        context.fillStyle = colour("lane");
        context.fillRect(until - 1, top, 1, LANE);
      }
    }
  }

  function paintOverview(): void {
    const context = sized(overview, OVERVIEW);
    const [left, wide] = [gutter(), plotWidth()];
    const place = (ns: number) => left + (ns / whole.until_ns) * wide;
    context.fillStyle = colour("lane");
    context.fillRect(left, 0, wide, OVERVIEW);
    context.fillStyle = colour("stall");
    for (const lane of lanes) {
      if (lane.kind !== "iterations") continue;
      lane.starts.forEach((start, index) => {
        const length = (lane.ends[index] ?? start) - start;
        if (length < data.threshold_ns) return;
        const high = OVERVIEW * Math.min(1, 0.3 + 0.25 * Math.log2(length / data.threshold_ns));
        context.fillRect(place(start), OVERVIEW - high, Math.max(1, (length / whole.until_ns) * wide), high);
      });
    }
    context.fillStyle = colour("veil");
    context.fillRect(left, 0, place(view.from_ns) - left, OVERVIEW);
    context.fillRect(place(view.until_ns), 0, left + wide - place(view.until_ns), OVERVIEW);
    context.strokeStyle = colour("ink");
    context.strokeRect(place(view.from_ns) + 0.5, 0.5, Math.max(2, place(view.until_ns) - place(view.from_ns) - 1), OVERVIEW - 1);
    context.font = "12px system-ui, sans-serif";
    context.textBaseline = "middle";
    context.fillStyle = colour("quiet");
    if (left) context.fillText("whole recording", 2, OVERVIEW / 2);
  }

  function stallAt(ns: number, slack_ns: number): number {
    return stalls.findIndex((stall) => stall.start_ns - slack_ns <= ns && ns <= stall.start_ns + stall.wall_ns + slack_ns);
  }

  let pressed: { px: number; ns: number; panned: boolean; view: Stretch } | null = null;
  canvas.addEventListener("pointerdown", (event) => {
    const px = event.offsetX;
    if (event.button !== 0 || px < gutter()) return;
    canvas.setPointerCapture(event.pointerId);
    // One finger moves the view, as everywhere on a phone; so does the mouse with Shift.
    pressed = { px, ns: at(px), panned: event.pointerType === "touch" || event.shiftKey, view };
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!pressed) return;
    if (Math.abs(event.offsetX - pressed.px) < 4) return;
    if (pressed.panned) {
      const moved = ((event.offsetX - pressed.px) / plotWidth()) * (pressed.view.until_ns - pressed.view.from_ns);
      show({ from_ns: pressed.view.from_ns - moved, until_ns: pressed.view.until_ns - moved });
    } else {
      const other = Math.max(view.from_ns, Math.min(at(event.offsetX), view.until_ns));
      stretch = { from_ns: Math.min(pressed.ns, other), until_ns: Math.max(pressed.ns, other) };
      draw();
    }
  });
  canvas.addEventListener("pointerup", (event) => {
    if (!pressed) return;
    const { px, ns, panned } = pressed;
    pressed = null;
    if (Math.abs(event.offsetX - px) >= 4) {
      if (!panned) select(stretch);
      return;
    }
    const place = stallAt(ns, ((view.until_ns - view.from_ns) / plotWidth()) * 3);
    if (place >= 0) options.onStall(place);
  });
  canvas.addEventListener("pointercancel", () => (pressed = null));
  canvas.addEventListener(
    "wheel",
    (event) => {
      // A wheel alone scrolls the page.
      if (!event.ctrlKey && !event.shiftKey && Math.abs(event.deltaX) <= Math.abs(event.deltaY)) return;
      event.preventDefault();
      if (event.ctrlKey) zoom(2 ** (event.deltaY / 200), Math.max(0, (event.offsetX - gutter()) / plotWidth()));
      else pan((event.deltaX || event.deltaY) / plotWidth());
    },
    { passive: false },
  );
  canvas.addEventListener("keydown", (event) => {
    const length = view.until_ns - view.from_ns;
    const grow = (by: number) => {
      const base = stretch ?? { from_ns: view.from_ns + length * 0.4, until_ns: view.from_ns + length * 0.5 };
      const until_ns = Math.min(whole.until_ns, Math.max(base.from_ns + SHORTEST_NS, base.until_ns + by * length));
      select({ from_ns: base.from_ns, until_ns });
    };
    const keys: Record<string, () => void> = {
      ArrowLeft: () => (event.shiftKey ? grow(-0.05) : pan(-0.1)),
      ArrowRight: () => (event.shiftKey ? grow(0.05) : pan(0.1)),
      "+": () => zoom(0.5, 0.5),
      "=": () => zoom(0.5, 0.5),
      "-": () => zoom(2, 0.5),
      Home: () => show(whole),
      Escape: () => select(null),
      Enter: () => {
        const place = stalls.findIndex((stall) => stall.start_ns < view.until_ns && stall.start_ns + stall.wall_ns > view.from_ns);
        if (place >= 0) options.onStall(place);
      },
    };
    const act = keys[event.key];
    if (!act || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    act();
  });
  let dragged = false;
  const moveTo = (event: PointerEvent) => {
    const centre = ((event.offsetX - gutter()) / plotWidth()) * whole.until_ns;
    const half = (view.until_ns - view.from_ns) / 2;
    show({ from_ns: centre - half, until_ns: centre + half });
  };
  overview.addEventListener("pointerdown", (event) => {
    dragged = true;
    overview.setPointerCapture(event.pointerId);
    moveTo(event);
  });
  overview.addEventListener("pointermove", (event) => dragged && moveTo(event));
  overview.addEventListener("pointerup", () => (dragged = false));
  overview.addEventListener("pointercancel", () => (dragged = false));
  whenLooksChange(canvas, paint);
  tell();
  draw();

  return {
    mark: (place) => {
      marked = place;
      const stall = place === null ? undefined : stalls[place];
      if (stall && (stall.start_ns < view.from_ns || stall.start_ns + stall.wall_ns > view.until_ns || stall.wall_ns < (view.until_ns - view.from_ns) / 50)) {
        show({ from_ns: stall.start_ns - stall.wall_ns, until_ns: stall.start_ns + 2 * stall.wall_ns });
      }
      draw();
    },
  };
}

function unpack(lane: Lane, timeline: Timeline, duration_ns: number): Unpacked {
  const count = lane.spans.length / 2;
  const [starts, ends] = [new Float64Array(count), new Float64Array(count)];
  let [start, longest] = [0, 0];
  for (let place = 0; place < count; place++) {
    start += (lane.spans[2 * place] ?? 0) * 1e3;
    const length = (lane.spans[2 * place + 1] ?? 0) * 1e3;
    starts[place] = start;
    ends[place] = start + length;
    longest = Math.max(longest, length);
  }
  const covered = new Uint8Array(Math.ceil(duration_ns / timeline.cell_ns) + 1);
  let cell = 0;
  for (let place = 0; place < lane.cells.length; place += 2) {
    cell += lane.cells[place] ?? 0;
    covered[cell] = lane.cells[place + 1] ?? 0;
  }
  return { label: lane.label, kind: lane.kind, starts, ends, longest, covered };
}

function lowerBound(sorted: Float64Array, wanted: number): number {
  let [low, high] = [0, sorted.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((sorted[middle] ?? 0) < wanted) low = middle + 1;
    else high = middle;
  }
  return low;
}
