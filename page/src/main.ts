import { readAddress, stretchOf, stretchText, writeAddress } from "./address";
import { startFlame } from "./flame";
import type { Data, Stacks, Stall, Stretch } from "./model";
import { tellPercentiles } from "./percentiles";
import { partsTable, stallsIn } from "./stalls_in";
import "./style.css";
import { startTimeline } from "./timeline";

const data = told(document.getElementById("data")) as Data | null;

function told(element: Element | null): unknown {
  return JSON.parse(element?.textContent || "null");
}

function host(name: string): HTMLElement | null {
  const found = document.querySelector<HTMLElement>(`[data-picture="${name}"]`);
  if (found) found.hidden = false;
  return found;
}

function overlaps(stall: Stall, stretch: Stretch): boolean {
  return stall.start_ns < stretch.until_ns && stall.start_ns + stall.wall_ns > stretch.from_ns;
}

/** Starts the graphs that carry their own data. */
function startFlames(): void {
  for (const host of document.querySelectorAll<HTMLElement>("[data-picture='flame']")) {
    const own = told(host.querySelector("script[type='application/json']")) as Stacks | null;
    if (!own?.weights.length) continue;
    host.hidden = false;
    startFlame(own, host);
  }
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
  const stall = readAddress("stall");
  const asked = stretchOf(readAddress("stretch"), data.duration_ns);

  const parts = document.querySelector("[data-told='parts']");

  const filter = (stretch: Stretch | null): void => {
    let shown = 0;
    stalls.forEach((stall, place) => {
      const inside = !stretch || overlaps(stall, stretch);
      const row = rows[place];
      if (row) row.hidden = !inside;
      if (inside) shown += 1;
    });
    const found = stretch && stallsIn(data, stretch);
    showWeights?.(found ? found.weights : data.weights);
    parts?.replaceChildren(...(found?.stalls ? [partsTable(data, found)] : []));
    if (shownCount) shownCount.textContent = found ? `${shown} of them are in the stretch, which has ${found.stalls.toLocaleString("en")}.` : "";
    tell(stretch);
  };

  const view = startTimeline(data, timeline, stalls, timelineHost, {
    view: stretchOf(readAddress("view"), data.duration_ns),
    stretch: asked,
    onView: (stretch) => writeAddress("view", stretchText(stretch)),
    onStretch: (stretch) => {
      writeAddress("stretch", stretchText(stretch));
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
        writeAddress("stall", String(place + 1));
        view.mark(place);
      } else if (readAddress("stall") === String(place + 1)) {
        writeAddress("stall", "");
        view.mark(null);
      }
    }),
  );
  filter(asked);
  const opened = rows[Number(stall) - 1];
  if (opened) {
    opened.open = true;
    opened.scrollIntoView({ block: "start" });
  }
}

startFlames();
if (data) start(data);
// Paper shows what is folded away on a screen.
addEventListener("beforeprint", () => document.querySelectorAll<HTMLDetailsElement>("details.help").forEach((help) => (help.open = true)));
