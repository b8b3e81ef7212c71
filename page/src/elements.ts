// Text of a capture is untrusted: it only ever becomes the text of a node.

export function make<K extends keyof HTMLElementTagNameMap>(
  name: K,
  attributes: Record<string, string> = {},
  ...children: (Node | string)[]
): HTMLElementTagNameMap[K] {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

export function button(text: string, title: string, act: () => void): HTMLButtonElement {
  const element = make("button", { type: "button", title }, text);
  if (text.length < 3) element.setAttribute("aria-label", title);
  element.addEventListener("click", act);
  return element;
}

// To ask for a style takes longer than to draw a block.
const colours = new Map<string, string>();

export function colour(name: string): string {
  let found = colours.get(name);
  if (found === undefined) {
    found = getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
    colours.set(name, found);
  }
  return found;
}

/** Stripes in a colour over another one, to tell apart what is read in grey. */
export function striped(context: CanvasRenderingContext2D, ground: string, stripe: string): CanvasPattern | string {
  const tile = document.createElement("canvas");
  tile.width = tile.height = 8;
  const inside = tile.getContext("2d");
  if (!inside) return ground;
  inside.fillStyle = ground;
  inside.fillRect(0, 0, 8, 8);
  inside.strokeStyle = stripe;
  inside.lineWidth = 2;
  for (const from of [-8, 0, 8]) {
    inside.moveTo(from, 8);
    inside.lineTo(from + 8, 0);
  }
  inside.stroke();
  return context.createPattern(tile, "repeat") ?? ground;
}

/** Calls `draw` once in the next frame, however often it was asked to. */
export function inNextFrame(draw: () => void): () => void {
  let asked = false;
  return () => {
    if (asked) return;
    asked = true;
    requestAnimationFrame(() => {
      asked = false;
      draw();
    });
  };
}

/** A canvas with the screen's own pixels; coordinates are CSS pixels. */
export function sized(canvas: HTMLCanvasElement, height: number): CanvasRenderingContext2D {
  const ratio = Math.min(3, devicePixelRatio || 1);
  const width = canvas.clientWidth;
  canvas.style.height = `${height}px`;
  if (canvas.width !== Math.round(width * ratio)) canvas.width = Math.round(width * ratio);
  if (canvas.height !== Math.round(height * ratio)) canvas.height = Math.round(height * ratio);
  const context = canvas.getContext("2d");
  if (!context) throw new Error("expected a canvas with a 2d context, got none");
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, height);
  return context;
}

/** Calls `paint` when the width, the colours or the paper change. */
export function whenLooksChange(element: Element, paint: () => void): void {
  new ResizeObserver(inNextFrame(paint)).observe(element);
  // At once: what is printed is what is there when this returns.
  const repaint = () => {
    colours.clear();
    paint();
  };
  for (const query of ["(prefers-color-scheme: dark)", "print"]) matchMedia(query).addEventListener("change", repaint);
}
