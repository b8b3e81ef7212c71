// The state of the page is in the fragment of its address, so that a link leads to what its sender saw.

type Key = "view" | "stretch" | "stall" | "find" | "cause" | "order";

/** Of a picture of which the page has several, `name` is its own. */
export function readAddress(key: Key, name = ""): string {
  return fields().get(field(key, name)) ?? "";
}

export function writeAddress(key: Key, value: string, name = ""): void {
  const all = fields();
  if (value) all.set(field(key, name), value);
  else all.delete(field(key, name));
  const text = all.toString();
  // Not `location.hash`: each drag would be a step of the browser's history.
  history.replaceState(null, "", text ? `#${text}` : location.pathname + location.search);
}

function fields(): URLSearchParams {
  return new URLSearchParams(location.hash.slice(1));
}

function field(key: Key, name: string): string {
  return name ? `${key}.${name}` : key;
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
