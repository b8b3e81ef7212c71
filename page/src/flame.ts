// The flame graph: a tree of stacks by cause, drawn on a canvas. Own code and not d3-flame-graph (5.0 was tried): that
// one makes five elements of each frame, so that marking a search in 12,000 frames takes 470 ms where this takes 40; it
// adds a style sheet, which the page's policy forbids; it has no keys, and turns stacks upside down but not inside out.
import { readAddress, writeAddress } from "./address";
import { percent, spoken } from "./durations";
import { button, colour, inNextFrame, make, sized, striped, whenLooksChange } from "./elements";
import type { Stacks, Weight } from "./model";

const ROW = 19;
const NARROWEST = 0.4;
const MOST_ROWS = 120;
const HEAVIEST = 15;

interface Node {
  name: string;
  where: string;
  cause: string;
  ns: number;
  against: number;
  children: Map<string, Node>;
  parent: Node | null;
}

interface Box {
  node: Node;
  x: number;
  width: number;
  row: number;
}

/** Draws in the host; its name tells it from others of the page, in the address and for screen readers. */
export function startFlame(data: Stacks, host: HTMLElement): (weights: Weight[]) => void {
  const name = host.dataset.name ?? "";
  const named = (label: string) => (name ? `${label}: ${name}` : label);
  const compared = data.weights.some((weight) => weight.length > 4);
  let weights = data.weights;
  const asked = readAddress("cause", name);
  let cause = data.causes.some((known) => known.key === asked) ? asked : "";
  let inverted = readAddress("order", name) === "callees";
  let root = newNode("all stalls", "", "", null);
  let zoomed = root;
  let current = root;
  let boxes: Box[] = [];

  const canvas = make("canvas", { tabindex: "0", role: "application", "aria-label": named(LABEL), class: "flame" });
  const told = make("output", { class: "told", "aria-live": "polite" });
  const found = make("output", { class: "quiet" });
  const field = make("input", { type: "search", placeholder: "Search function or file", "aria-label": named("Search function or file in the flame graph") });
  field.value = readAddress("find", name);
  const causes = make("select", { "aria-label": named("Cause of the stalls that are shown") }, make("option", { value: "" }, "all causes"));
  for (const { key, name } of data.causes) causes.append(make("option", { value: key }, name));
  causes.value = cause;
  const orders = make("select", { "aria-label": named("Direction of the flame graph") });
  orders.append(make("option", { value: "" }, "callers above callees"), make("option", { value: "callees" }, "innermost frame first"));
  orders.value = inverted ? "callees" : "";
  const tools = make("div", { class: "tools" }, causes, orders, field, button("Reset", "Show all frames again", reset), found);
  const heaviest = make("tbody");
  const table = make(
    "table",
    { class: "numbers" },
    make("caption", {}, compared ? "The functions whose own time changed most" : "The heaviest functions of what is shown, by their own time"),
    make("thead", {}, row("th", "function", "file", "itself", "with what it called", ...(compared ? ["change"] : []))),
    heaviest,
  );
  const wide = make("div", { class: "wide", tabindex: "0", role: "region", "aria-label": named("Heaviest functions") }, table);
  host.append(tools, canvas, told, wide);

  const draw = inNextFrame(paint);

  function rebuild(): void {
    root = newNode("all stalls", "", "", null);
    for (const weight of weights) add(root, data, weight, cause, inverted);
    zoomed = current = root;
    listHeaviest();
    tellCurrent();
    draw();
  }

  function reset(): void {
    field.value = "";
    zoomed = current = root;
    searched();
    tellCurrent();
  }

  function paint(): void {
    boxes = layout(root, zoomed, canvas.clientWidth);
    const rows = 1 + boxes.reduce((most, box) => Math.max(most, box.row), 0);
    const context = sized(canvas, Math.max(3, rows) * ROW);
    const wanted = field.value.toLowerCase();
    const ink = colour("ink");
    context.font = "12px system-ui, sans-serif";
    context.textBaseline = "middle";
    if (!root.ns && !root.against) {
      context.fillStyle = ink;
      context.fillText("No stalls here.", 4, ROW / 2);
    }
    for (const { node, x, width, row } of boxes) {
      const hit = wanted !== "" && matches(node, wanted);
      context.globalAlpha = isAbove(node, zoomed) ? 0.55 : 1;
      context.fillStyle = hit ? colour("hit") : compared ? changed(context, change(node, root)) : fill(node);
      context.fillRect(x, row * ROW, Math.max(0.5, width - 0.5), ROW - 1);
      if (node === current) {
        context.strokeStyle = ink;
        context.lineWidth = 2;
        context.strokeRect(x + 1, row * ROW + 1, Math.max(1, width - 3), ROW - 3);
      }
      if (width > 26) {
        context.save();
        context.beginPath();
        context.rect(x, row * ROW, width - 3, ROW);
        context.clip();
        context.fillStyle = hit ? colour("on-hit") : ink;
        context.fillText(node.parent?.parent ? node.name : `${node.name}: ${cost(node)}`, x + 4, row * ROW + ROW / 2);
        context.restore();
      }
    }
    context.globalAlpha = 1;
  }

  function cost(node: Node): string {
    const whole = `${spoken(node.ns)}, ${percent(node.ns, root.ns)}`;
    return compared ? `${whole}; against ${spoken(node.against)}` : whole;
  }

  function tellCurrent(): void {
    told.textContent = [current.name, current.where, `${cost(current)} of the stalled time shown`].filter(Boolean).join("  ");
  }

  function searched(): void {
    const wanted = field.value.toLowerCase();
    found.textContent = wanted ? `${percent(share(root, wanted), root.ns)} of the stalled time shown` : "";
    writeAddress("find", field.value, name);
    draw();
  }

  function listHeaviest(): void {
    const own = new Map<string, { node: Node; self: number; total: number; change: number }>();
    walk(root, new Set(), (node, seen) => {
      const key = `${node.name}\n${node.where}`;
      const entry = own.get(key) ?? { node, self: 0, total: 0, change: 0 };
      own.set(key, entry);
      let [self, against] = [node.ns, node.against];
      if (inverted) {
        // Innermost frames stand right below the threads.
        if (node.parent?.parent?.parent !== root) self = against = 0;
      } else {
        for (const child of node.children.values()) {
          self -= child.ns;
          against -= child.against;
        }
      }
      entry.self += self;
      entry.change += self - against;
      if (!seen.has(key)) entry.total += node.ns;
      return key;
    });
    const weight = (entry: { self: number; change: number }) => (compared ? Math.abs(entry.change) : entry.self);
    const sorted = [...own.values()].filter((entry) => weight(entry) > 0 && entry.node.where);
    sorted.sort((one, other) => weight(other) - weight(one));
    heaviest.replaceChildren(
      ...sorted.slice(0, HEAVIEST).map(({ node, self, total, change }) => {
        const changed = compared ? [`${change < 0 ? "-" : "+"}${spoken(Math.abs(change))}`] : [];
        return row("td", node.name, node.where, spoken(self), inverted ? "" : spoken(total), ...changed);
      }),
    );
    wide.hidden = !sorted.length;
  }

  function boxAt(event: MouseEvent): Box | undefined {
    const frame = canvas.getBoundingClientRect();
    const [x, row] = [event.clientX - frame.left, Math.floor((event.clientY - frame.top) / ROW)];
    return boxes.find((box) => box.row === row && x >= box.x && x < box.x + Math.max(1, box.width));
  }

  function choose(node: Node | undefined): void {
    if (!node || node === current) return;
    current = node;
    tellCurrent();
    draw();
  }

  canvas.addEventListener("mousemove", (event) => choose(boxAt(event)?.node));
  canvas.addEventListener("click", (event) => {
    const box = boxAt(event);
    if (!box) return;
    zoomed = current = box.node;
    tellCurrent();
    draw();
  });
  canvas.addEventListener("keydown", (event) => {
    const sisters = current.parent ? heavyFirst(current.parent) : [current];
    const place = sisters.indexOf(current);
    const next: Record<string, () => void> = {
      ArrowUp: () => choose(current.parent ?? undefined),
      ArrowDown: () => choose(heavyFirst(current)[0]),
      ArrowLeft: () => choose(sisters[place - 1]),
      ArrowRight: () => choose(sisters[place + 1]),
      Enter: () => ((zoomed = current), draw()),
      Escape: reset,
    };
    const act = next[event.key];
    if (!act) return;
    event.preventDefault();
    act();
  });
  field.addEventListener("input", searched);
  field.addEventListener("keydown", (event) => event.key === "Escape" && reset());
  causes.addEventListener("change", () => {
    cause = causes.value;
    writeAddress("cause", cause, name);
    rebuild();
    searched();
  });
  orders.addEventListener("change", () => {
    inverted = orders.value === "callees";
    writeAddress("order", orders.value, name);
    rebuild();
    searched();
  });
  whenLooksChange(canvas, paint);
  rebuild();
  searched();
  return (shown) => {
    weights = shown;
    rebuild();
    searched();
  };
}

const LABEL =
  "Flame graph. Arrow keys move between frames, Enter zooms to the frame, Escape shows all again. " +
  "The table below has the same in numbers.";

function newNode(name: string, where: string, cause: string, parent: Node | null): Node {
  return { name, where, cause, ns: 0, against: 0, children: new Map(), parent };
}

function add(root: Node, data: Stacks, weight: Weight, wantedCause: string, inverted: boolean): void {
  const [causeAt, thread, stack, ns, against = 0] = weight;
  const cause = data.causes[causeAt];
  if (!cause || (wantedCause && cause.key !== wantedCause)) return;
  const frames: [string, string][] = (data.stacks[stack] ?? []).map((place) => data.functions[place] ?? ["?", ""]);
  if (inverted) frames.reverse();
  const steps: [string, string][] = [[cause.name, ""], [data.threads[thread] ?? "?", ""], ...frames];
  if (steps.length > MOST_ROWS) steps.splice(MOST_ROWS, Infinity, ["(deeper frames)", ""]);
  let node = root;
  node.ns += ns;
  node.against += against;
  for (const [name, where] of steps) {
    const key = `${name}\n${where}`;
    let child = node.children.get(key);
    if (!child) node.children.set(key, (child = newNode(name, where, cause.key, node)));
    child.ns += ns;
    child.against += against;
    node = child;
  }
}

function heavyFirst(node: Node): Node[] {
  return [...node.children.values()].sort((one, other) => size(other) - size(one) || (one.name < other.name ? -1 : 1));
}

/** What went away in a comparison must be seen too. */
function size(node: Node): number {
  return Math.max(node.ns, node.against);
}

function layout(root: Node, zoomed: Node, width: number): Box[] {
  const boxes: Box[] = [];
  const above: Node[] = [];
  for (let node: Node | null = zoomed.parent; node; node = node.parent) above.unshift(node);
  above.forEach((node, row) => boxes.push({ node, x: 0, width, row }));
  const pending: Box[] = [{ node: zoomed, x: 0, width: size(root) ? width : 0, row: above.length }];
  for (let box = pending.pop(); box; box = pending.pop()) {
    if (box.width > 0) boxes.push(box);
    const children = heavyFirst(box.node);
    const whole = Math.max(
      size(box.node),
      children.reduce((sum, child) => sum + size(child), 0),
    );
    let x = box.x;
    for (const child of children) {
      const wide = whole ? (box.width * size(child)) / whole : 0;
      if (wide < NARROWEST) break;
      pending.push({ node: child, x, width: wide, row: box.row + 1 });
      x += wide;
    }
  }
  return boxes;
}

function isAbove(node: Node, zoomed: Node): boolean {
  for (let above = zoomed.parent; above; above = above.parent) if (above === node) return true;
  return false;
}

function fill(node: Node): string {
  if (!node.cause) return colour("none");
  // One shade for each file, so that the border between two packages shows.
  let sum = 0;
  for (const char of node.where.replace(/:\d+$/, "")) sum = (sum * 31 + char.charCodeAt(0)) >>> 0;
  return colour(`${node.cause.replace("_", "-")}-${sum % 3}`);
}

/** How much more it is than in the other recording, as a share of all. */
function change(node: Node, root: Node): number {
  return (node.ns - node.against) / (size(root) || 1);
}

/** What became less has stripes. */
function changed(context: CanvasRenderingContext2D, share: number): string | CanvasPattern {
  if (Math.abs(share) < 0.005) return colour("none");
  const strength = Math.abs(share) > 0.1 ? 2 : 1;
  return share > 0 ? colour(`worse-${strength}`) : striped(context, colour(`better-${strength}`), colour("stripe"));
}

function matches(node: Node, wanted: string): boolean {
  return node.name.toLowerCase().includes(wanted) || node.where.toLowerCase().includes(wanted);
}

/** What is inside a frame that was found is not counted again. */
function share(node: Node, wanted: string): number {
  if (matches(node, wanted)) return node.ns;
  let sum = 0;
  for (const child of node.children.values()) sum += share(child, wanted);
  return sum;
}

function walk(node: Node, seen: Set<string>, visit: (node: Node, seen: Set<string>) => string): void {
  const key = visit(node, seen);
  const added = !seen.has(key);
  seen.add(key);
  for (const child of node.children.values()) walk(child, seen, visit);
  if (added) seen.delete(key);
}

function row(kind: "td" | "th", ...cells: string[]): HTMLTableRowElement {
  return make("tr", {}, ...cells.map((cell) => make(kind, kind === "th" ? { scope: "col" } : {}, cell)));
}
