/// The members' marks: colour and shape, on canvases and in the document.

export const GLYPHS = ['circle', 'diamond', 'square', 'triangle', 'hexagon', 'cross'] as const;

/** Corners of each shape around 0 for a radius of 1; the circle has none. */
const regular = (n: number, turn: number, size: number): [number, number][] =>
  Array.from({ length: n }, (_, i) => {
    const a = turn + (i / n) * 2 * Math.PI;
    return [Math.cos(a) * size, Math.sin(a) * size];
  });
const ARM = 0.36;
const CROSS: [number, number][] = [
  [-ARM, -1], [ARM, -1], [ARM, -ARM], [1, -ARM], [1, ARM], [ARM, ARM], [ARM, 1], [-ARM, 1], [-ARM, ARM], [-1, ARM], [-1, -ARM], [-ARM, -ARM],
];
const CORNERS: ([number, number][] | null)[] = [
  null, regular(4, 0, 1.22), regular(4, Math.PI / 4, 1.2), regular(3, -Math.PI / 2, 1.3), regular(6, 0, 1.1), CROSS,
];

/** Begins a path of a member's shape. */
export function trace(c: CanvasRenderingContext2D, member: number, x: number, y: number, radius: number): void {
  const corners = CORNERS[member % CORNERS.length];
  c.beginPath();
  if (!corners) c.arc(x, y, radius, 0, 2 * Math.PI);
  corners?.forEach(([dx, dy], i) => (i ? c.lineTo(x + dx * radius, y + dy * radius) : c.moveTo(x + dx * radius, y + dy * radius)));
  c.closePath();
}

/** A member's mark with a casing, so that it is seen on any ground. */
export function mark(
  c: CanvasRenderingContext2D, member: number, x: number, y: number, radius: number, colour: string, casing: string,
): void {
  trace(c, member, x, y, radius * 1.37);
  c.fillStyle = casing;
  c.fill();
  trace(c, member, x, y, radius);
  c.fillStyle = colour;
  c.fill();
}

/** The same as an SVG path around 0. */
export function outline(member: number, radius: number): string {
  const corners = CORNERS[member % CORNERS.length];
  const r = radius;
  if (!corners) return `M${-r} 0A${r} ${r} 0 1 1 ${r} 0A${r} ${r} 0 1 1 ${-r} 0Z`;
  return `M${corners.map(([x, y]) => `${(x * r).toFixed(2)} ${(y * r).toFixed(2)}`).join('L')}Z`;
}
