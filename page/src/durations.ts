const UNITS: [number, string][] = [
  [1e9, "s"],
  [1e6, "ms"],
  [1e3, "us"],
  [1, "ns"],
];

/** A duration with two or three digits that count: `4.1 s`, `97 ms`. */
export function spoken(ns: number): string {
  for (const [size, unit] of UNITS) {
    if (ns >= size) return `${(ns / size).toFixed(ns / size < 9.95 && size > 1 ? 1 : 0)} ${unit}`;
  }
  return "0";
}

/** A moment, with as many digits as a scale of this step needs. */
export function moment(ns: number, step_ns: number): string {
  const digits = Math.max(0, Math.min(6, Math.ceil(-Math.log10(step_ns / 1e9) - 1e-9)));
  return `${(ns / 1e9).toFixed(digits)} s`;
}

export function percent(part: number, whole: number): string {
  return `${whole ? ((100 * part) / whole).toFixed(1) : "0.0"} %`;
}
