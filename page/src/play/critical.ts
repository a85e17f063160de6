/// Minima, saddles and maxima of a typed function, by Newton's method on its exact gradient from a grid of starts.
import type { Terrain } from '../expression';
import type { Axis, Mark } from '../film/film';
import { decimal } from '../ui/numbers';
import { eigenvalues } from './stability';

const STARTS = 17;
const ITERATIONS = 40;
/** Points closer than this share of the plot are one. */
const SAME = 1e-4;
/** A curvature below this share of the greatest on the plot is flat, and the point is not called anything. */
const FLAT = 1e-7;
/** More than these would hide the surface: then only the least minimum is marked. */
const MOST = 9;

/** The critical points inside the plot. */
export function criticalPoints(terrain: Terrain, x: Axis, y: Axis): Mark[] {
  const found: Mark[] = [];
  const flat = FLAT * greatestCurvature(terrain, x, y);
  for (let j = 0; j < STARTS; j++) {
    for (let i = 0; i < STARTS; i++) {
      const at = newton(terrain, between(x, (i + 0.5) / STARTS), between(y, (j + 0.5) / STARTS));
      if (!at || !inside(x, at[0]) || !inside(y, at[1]) || found.some(mark => near(mark, at, x, y))) continue;
      const mark = named(terrain, at, flat);
      if (mark) found.push(mark);
    }
  }
  if (found.length <= MOST) return found;
  return found.filter(mark => mark.kind === 'minimum').sort((a, b) => a.loss - b.loss).slice(0, 1);
}

const between = (axis: Axis, share: number) => axis.lo + (axis.hi - axis.lo) * share;
const inside = (axis: Axis, v: number) => v >= axis.lo && v <= axis.hi;
const near = (mark: Mark, [a, b]: [number, number], x: Axis, y: Axis) =>
  Math.hypot((mark.x - a) / (x.hi - x.lo), (mark.y - b) / (y.hi - y.lo)) < SAME;

function newton(terrain: Terrain, x: number, y: number): [number, number] | null {
  for (let i = 0; i < ITERATIONS; i++) {
    const { x: gx, y: gy, xx, xy, yy } = terrain.jet(x, y);
    const determinant = xx * yy - xy * xy;
    const [dx, dy] = [(yy * gx - xy * gy) / determinant, (xx * gy - xy * gx) / determinant];
    if (!Number.isFinite(dx + dy)) return null;
    [x, y] = [x - dx, y - dy];
    if (Math.hypot(dx, dy) < 1e-12 * (1 + Math.hypot(x, y))) return [x, y];
  }
  return null;
}

function greatestCurvature(terrain: Terrain, x: Axis, y: Axis): number {
  let greatest = 0;
  for (let k = 0; k < STARTS * STARTS; k++) {
    const { xx, xy, yy } = terrain.jet(between(x, ((k % STARTS) + 0.5) / STARTS), between(y, (Math.floor(k / STARTS) + 0.5) / STARTS));
    const size = Math.max(...eigenvalues(xx, xy, yy).map(Math.abs));
    if (size > greatest && Number.isFinite(size)) greatest = size;
  }
  return greatest;
}

function named(terrain: Terrain, [x, y]: [number, number], flat: number): Mark | null {
  const { v, xx, xy, yy } = terrain.jet(x, y);
  const [least, greatest] = eigenvalues(xx, xy, yy);
  if (Math.abs(least) <= flat || Math.abs(greatest) <= flat || !Number.isFinite(v)) return null;
  const kind = least > 0 ? 'minimum' : greatest < 0 ? 'maximum' : 'saddle';
  return { kind, x, y, loss: v, text: `${kind}, ${decimal(v)}` };
}
