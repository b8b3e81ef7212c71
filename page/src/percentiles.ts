// Percentiles of the iterations in a stretch, from lengths of one byte each: close to 4 %.
import { spoken } from "./durations";
import type { Stretch, Timeline } from "./model";

const PERCENTILES = [50, 90, 99, 99.9];

export function tellPercentiles(timeline: Timeline): (stretch: Stretch | null) => void {
  const out = document.querySelector("[data-told='percentiles']");
  const packed = timeline.iterations;
  if (!out || !packed) return () => undefined;
  const sizes = Uint8Array.from(atob(packed.sizes), (char) => char.charCodeAt(0));
  return (stretch) => {
    if (!stretch) {
      out.textContent = "";
      return;
    }
    const counts = new Uint32Array(256);
    let [cell, at, count] = [0, 0, 0];
    for (let place = 0; place < packed.counts.length; place += 2) {
      cell += packed.counts[place] ?? 0;
      const until = at + (packed.counts[place + 1] ?? 0);
      const from_ns = cell * timeline.cell_ns;
      if (from_ns + timeline.cell_ns > stretch.from_ns && from_ns < stretch.until_ns) {
        count += until - at;
        for (let each = at; each < until; each++) counts[sizes[each] ?? 0]! += 1;
      }
      at = until;
    }
    const told = PERCENTILES.map((percentile) => `p${percentile} ${length(counts, count, percentile, timeline)}`);
    told.push(`max ${length(counts, count, 100, timeline)}`);
    const words = `${count.toLocaleString("en")} iterations began in the stretch`;
    out.textContent = count ? `${words}: ${told.join(", ")} (to 4 %).` : `${words}.`;
  };
}

function length(counts: Uint32Array, count: number, percentile: number, timeline: Timeline): string {
  const rank = Math.max(1, Math.ceil((count * percentile) / 100));
  let sum = 0;
  for (let size = 0; size < counts.length; size++) {
    sum += counts[size] ?? 0;
    if (sum >= rank) return spoken(1e3 * 2 ** ((size + 0.5) / timeline.size_steps_per_octave));
  }
  return "0";
}
