import { readAddress, stretchOf, stretchText, writeAddress } from "./address";
import { startFlame } from "./flame";
import type { Data, Stall, Stretch, Weight } from "./model";
import { tellPercentiles } from "./percentiles";
import "./style.css";
import { startTimeline } from "./timeline";

const data = JSON.parse(document.getElementById("data")?.textContent || "null") as Data | null;

function host(name: string): HTMLElement | null {
  const found = document.querySelector<HTMLElement>(`[data-picture="${name}"]`);
  if (found) found.hidden = false;
  return found;
}

function overlaps(stall: Stall, stretch: Stretch): boolean {
  return stall.start_ns < stretch.until_ns && stall.start_ns + stall.wall_ns > stretch.from_ns;
}

function start(data: Data): void {
  const flameHost = host("flame");
  const showWeights = flameHost && data.weights.length ? startFlame(data, flameHost) : null;
  const timelineHost = host("timeline");
  const { timeline, stalls } = data;
  if (!timelineHost || !timeline || !stalls) return;
  const rows = [...document.querySelectorAll<HTMLDetailsElement>("details[data-stall]")];
  const shownCount = document.querySelector("[data-told='stalls']");
  const tell = tellPercentiles(timeline);
  const state = readAddress();

  const filter = (stretch: Stretch | null): void => {
    let shown = 0;
    const weights: Weight[] = [];
    stalls.forEach((stall, place) => {
      const inside = !stretch || overlaps(stall, stretch);
      const row = rows[place];
      if (row) row.hidden = !inside;
      if (!inside) return;
      shown += 1;
      if (stretch) for (const weight of stall.weights) weights.push(weight);
    });
    showWeights?.(stretch ? weights : data.weights);
    if (shownCount) shownCount.textContent = stretch ? `${shown} of the ${stalls.length} told here are in the stretch.` : "";
    tell(stretch);
  };

  const view = startTimeline(data, timeline, stalls, timelineHost, {
    view: stretchOf(state.view, data.duration_ns),
    stretch: stretchOf(state.stretch, data.duration_ns),
    onView: (stretch) => writeAddress({ view: stretchText(stretch) }),
    onStretch: (stretch) => {
      writeAddress({ stretch: stretchText(stretch) });
      filter(stretch);
    },
    onStall: (place) => {
      const row = rows[place];
      if (!row) return;
      row.hidden = false;
      row.open = true;
      row.querySelector("summary")?.focus();
      row.scrollIntoView({ block: "start" });
    },
  });
  rows.forEach((row, place) =>
    row.addEventListener("toggle", () => {
      if (row.open) {
        writeAddress({ stall: String(place + 1) });
        view.mark(place);
      } else if (readAddress().stall === String(place + 1)) {
        writeAddress({ stall: "" });
        view.mark(null);
      }
    }),
  );
  filter(stretchOf(state.stretch, data.duration_ns));
  const opened = rows[Number(state.stall) - 1];
  if (opened) opened.open = true;
}

if (data) start(data);
// Paper shows what is folded away on a screen.
addEventListener("beforeprint", () => document.querySelectorAll<HTMLDetailsElement>("details.help").forEach((help) => (help.open = true)));
