// What Python hands over. Times are nanoseconds since the start of the recording unless a name says otherwise.

/** Cause, thread, stack (each a place in a list of `Data`), time; and in a comparison, the other recording's time. */
export type Weight = [cause: number, thread: number, stack: number, ns: number, against?: number];

export interface Stall {
  start_ns: number;
  wall_ns: number;
}

/** One row of the timeline. `spans` and `cells` are pairs, and the first of a pair counts from the one before. */
export interface Lane {
  label: string;
  kind: "iterations" | "waits" | "holds" | "collections" | "exports" | "refusals";
  /** Exact: microseconds from the start of the one before, and microseconds of length. */
  spans: number[];
  /** Merged: cells from the one before, and how much of the cell is covered, of 255. */
  cells: number[];
}

export interface Timeline {
  cell_ns: number;
  lanes: Lane[];
  /** How many iterations began in each cell, as pairs like `cells`; and how long each was, one byte each, in base64. */
  iterations: { counts: number[]; sizes: string } | null;
  size_steps_per_octave: number;
}

/** What a flame graph is drawn from. */
export interface Stacks {
  causes: { name: string; key: string }[];
  threads: string[];
  functions: [name: string, where: string][];
  /** Places in `functions`, the outermost first. */
  stacks: number[][];
  weights: Weight[];
}

export interface Data extends Stacks {
  duration_ns: number;
  threshold_ns: number;
  /** The worst, which the page tells one by one. */
  stalls?: Stall[];
  /** All of them: start and length in microseconds, how many; then pairs of a place in `weights` and microseconds. */
  groups?: number[][];
  timeline?: Timeline;
}

export interface Stretch {
  from_ns: number;
  until_ns: number;
}
