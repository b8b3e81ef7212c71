// The state of the page is in the fragment of its address, so that a link leads to what its sender saw.

export interface State {
  view: string;
  stretch: string;
  stall: string;
  find: string;
  cause: string;
  order: string;
}

const EMPTY: State = { view: "", stretch: "", stall: "", find: "", cause: "", order: "" };

export function readAddress(): State {
  const state = { ...EMPTY };
  const fields = new URLSearchParams(location.hash.slice(1));
  for (const key of Object.keys(EMPTY) as (keyof State)[]) state[key] = fields.get(key) ?? "";
  return state;
}

export function writeAddress(change: Partial<State>): void {
  const fields = new URLSearchParams();
  for (const [key, value] of Object.entries({ ...readAddress(), ...change })) if (value) fields.set(key, value);
  const text = fields.toString();
  // Not `location.hash`: each drag would be a step of the browser's history.
  history.replaceState(null, "", text ? `#${text}` : location.pathname + location.search);
}

export function stretchOf(text: string, duration_ns: number): { from_ns: number; until_ns: number } | null {
  const [from, until] = text.split("-").map(Number);
  if (from === undefined || until === undefined || !(until > from)) return null;
  const stretch = { from_ns: from * 1e3, until_ns: Math.min(until * 1e3, duration_ns) };
  return stretch.until_ns > stretch.from_ns ? stretch : null;
}

export function stretchText(stretch: { from_ns: number; until_ns: number } | null): string {
  return stretch ? `${Math.floor(stretch.from_ns / 1e3)}-${Math.ceil(stretch.until_ns / 1e3)}` : "";
}
