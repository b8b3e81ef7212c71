// All stalls that reach into a stretch, each with its whole length.
import { percent, spoken } from "./durations";
import { make } from "./elements";
import type { Data, Stretch, Weight } from "./model";

const HOLDERS = 5;

export interface Found {
  stalls: number;
  weights: Weight[];
}

export function stallsIn(data: Data, stretch: Stretch): Found {
  const sums = new Float64Array(data.weights.length);
  let stalls = 0;
  for (const [start_us = 0, length_us = 0, count = 0, ...pairs] of data.groups ?? []) {
    if (start_us * 1e3 >= stretch.until_ns || (start_us + length_us) * 1e3 <= stretch.from_ns) continue;
    stalls += count;
    for (let at = 0; at < pairs.length; at += 2) sums[pairs[at] ?? 0]! += (pairs[at + 1] ?? 0) * 1e3;
  }
  const weights: Weight[] = [];
  data.weights.forEach(([cause, thread, stack], place) => {
    const ns = sums[place] ?? 0;
    if (ns) weights.push([cause, thread, stack, ns]);
  });
  return { stalls, weights };
}

/** Where the time of these stalls went: by cause, and of the waits by who had the GIL. */
export function partsTable(data: Data, found: Found): HTMLElement {
  const causes = data.causes.map(() => 0);
  const holders = new Map<number, number>();
  for (const [cause, thread, , ns] of found.weights) {
    causes[cause]! += ns;
    if (data.causes[cause]?.key === "gil_wait") holders.set(thread, (holders.get(thread) ?? 0) + ns);
  }
  const whole = causes.reduce((sum, ns) => sum + ns, 0);
  const rows: HTMLElement[] = [];
  const tell = (name: string, ns: number, part: boolean) => {
    const label = part ? [make("span", { class: "sub" }, name)] : [name];
    const number = (text: string) => make("td", { class: "n" }, text);
    rows.push(make("tr", {}, make("th", { scope: "row" }, ...label), number(spoken(ns)), number(percent(ns, whole))));
  };
  data.causes.forEach(({ key, name }, cause) => {
    tell(name, causes[cause] ?? 0, false);
    if (key !== "gil_wait") return;
    const longest = [...holders].sort((one, other) => other[1] - one[1]);
    for (const [thread, ns] of longest.slice(0, HOLDERS)) tell(data.threads[thread] ?? "?", ns, true);
    const rest = longest.slice(HOLDERS).reduce((sum, [, ns]) => sum + ns, 0);
    if (rest) tell(`${longest.length - HOLDERS} others`, rest, true);
  });
  const many = `${found.stalls.toLocaleString("en")} ${found.stalls === 1 ? "stall" : "stalls"}`;
  const caption = `${many} in the stretch, ${spoken(whole)}: where that time went`;
  return make("table", { class: "parts" }, make("caption", {}, caption), make("tbody", {}, ...rows));
}
