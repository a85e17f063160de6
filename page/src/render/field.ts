/// A surface as the renderer wants it: heights, contour levels and what they are worth, at the vertices of a grid.
import { numbers, type Axis, type Surface } from '../film/film';
import { short } from '../ui/numbers';
import { linearScale, logScale, type Scale } from './scale';

/** What is known at a vertex. */
export const THERE = 0;
export const MISSING = 1;
export const DIVERGED = 2;

export interface Field {
  x: Axis;
  y: Axis;
  scale: Scale;
  /** [y.n · x.n] each, rows along x. */
  loss: Float64Array;
  height: Float32Array;
  level: Float32Array;
  /** 0 … 1: how far the standard error lets contour lines be told apart. */
  support: Float32Array;
  state: Uint8Array;
}

/** The field of a surface. */
export function fieldOf(surface: Surface): Field {
  const error = surface.error && numbers(surface.error);
  return fieldFrom(surface.x, surface.y, numbers(surface.loss), error, surface.height);
}

/** The field of losses on a grid, [y.n · x.n]. */
export function fieldFrom(
  x: Axis, y: Axis, loss: Float64Array, error: Float64Array | null, kind: Surface['height'],
): Field {
  const finite = loss.filter(Number.isFinite);
  const lo = finite.length ? finite.reduce((a, b) => Math.min(a, b)) : 0;
  const hi = finite.length ? finite.reduce((a, b) => Math.max(a, b)) : 1;
  const scale = (kind === 'log' ? logScale : linearScale)(lo, hi);
  const n = loss.length;
  const field: Field = {
    x, y, scale, loss,
    height: new Float32Array(n), level: new Float32Array(n), support: new Float32Array(n).fill(1), state: new Uint8Array(n),
  };
  for (let k = 0; k < n; k++) {
    const v = loss[k];
    field.state[k] = Number.isNaN(v) ? MISSING : Number.isFinite(v) ? THERE : DIVERGED;
    const seen = Number.isNaN(v) ? lo : Math.min(hi, Math.max(lo, v));
    field.height[k] = scale.height(seen);
    field.level[k] = scale.level(seen);
    if (error && error[k] > 0) field.support[k] = supported(scale.spacing(seen), error[k]);
  }
  return field;
}

/** Lines one standard error apart are not drawn; from three on they are drawn in full. */
function supported(spacing: number, error: number): number {
  return Math.min(1, Math.max(0, (spacing / error - 1) / 2));
}

/** The share of a terrain on which the function is undefined, in a sentence; empty where there is none. */
export function gaps({ state }: Field): string {
  const share = (100 * state.reduce((n, s) => n + Number(s === MISSING), 0)) / state.length;
  return share ? `The function is undefined on ${short(Math.max(share, 0.1), 2)} % of this domain.` : '';
}

/** World coordinate, −1 … 1, of a value on an axis. */
export const world = (axis: Axis, v: number): number => ((v - axis.lo) / (axis.hi - axis.lo)) * 2 - 1;

/** The value on an axis at a world coordinate. */
export const onAxis = (axis: Axis, u: number): number => axis.lo + ((u + 1) / 2) * (axis.hi - axis.lo);

/** Bilinear value of a vertex array at a point of the world, which is taken to the nearest edge. */
export function sample(field: Field, values: Float32Array, u: number, v: number): number {
  const [nx, ny] = [field.x.n, field.y.n];
  const fx = Math.min(nx - 1, Math.max(0, ((u + 1) / 2) * (nx - 1)));
  const fy = Math.min(ny - 1, Math.max(0, ((v + 1) / 2) * (ny - 1)));
  const i = Math.min(nx - 2, Math.floor(fx));
  const j = Math.min(ny - 2, Math.floor(fy));
  const [a, b, k] = [fx - i, fy - j, j * nx + i];
  const row = (at: number) => values[at] * (1 - a) + values[at + 1] * a;
  return row(k) * (1 - b) + row(k + nx) * b;
}

/** Vertices along an axis from which on a grid is fine enough to look smooth. */
const SMOOTH = 100;

/**
 * The field on a finer grid: cubic (Catmull and Rom) between the vertices, which stay as they are; linear beside what is
 * missing or diverged. It smooths how the surface looks, and knows no more than the coarse grid.
 */
export function refined(field: Field): Field {
  const factor = Math.ceil(SMOOTH / (Math.max(field.x.n, field.y.n) - 1));
  if (factor < 2) return field;
  const [nx, ny] = [(field.x.n - 1) * factor + 1, (field.y.n - 1) * factor + 1];
  const rows = Float32Array.from({ length: field.y.n * nx }, (_, k) =>
    cubic(field.height, Math.floor(k / nx) * field.x.n, 1, field.x.n, (k % nx) / factor));
  const height = Float32Array.from({ length: nx * ny }, (_, k) => cubic(rows, k % nx, nx, field.y.n, Math.floor(k / nx) / factor));
  const broken = field.state.some(state => state !== THERE);
  const out: Field = {
    x: { ...field.x, n: nx }, y: { ...field.y, n: ny }, scale: field.scale, loss: new Float64Array(nx * ny),
    height, level: new Float32Array(nx * ny), support: new Float32Array(nx * ny), state: new Uint8Array(nx * ny),
  };
  for (let k = 0; k < nx * ny; k++) {
    const [u, v] = [((k % nx) / (nx - 1)) * 2 - 1, (Math.floor(k / nx) / (ny - 1)) * 2 - 1];
    if (broken) {
      out.state[k] = worst(field, u, v);
      if (out.state[k] !== THERE || worst(field, u, v, 1) !== THERE) height[k] = sample(field, field.height, u, v);
    }
    height[k] = Math.min(1, Math.max(0, height[k]));
    out.loss[k] = [field.scale.loss(height[k]), NaN, Infinity][out.state[k]];
    out.level[k] = field.scale.level(field.scale.loss(height[k]));
    out.support[k] = sample(field, field.support, u, v);
  }
  return out;
}

/** Cubic value at a place between n numbers that lie `stride` apart. */
function cubic(values: Float32Array, start: number, stride: number, n: number, at: number): number {
  const i = Math.min(n - 2, Math.floor(at));
  const s = at - i;
  const [b, c] = [values[start + i * stride], values[start + (i + 1) * stride]];
  const a = i > 0 ? values[start + (i - 1) * stride] : 2 * b - c;
  const d = i < n - 2 ? values[start + (i + 2) * stride] : 2 * c - b;
  return b + 0.5 * s * (c - a + s * (2 * a - 5 * b + 4 * c - d + s * (3 * (b - c) + d - a)));
}

/** The worst state of the vertices around a point of the world, or so many farther out. */
function worst(field: Field, u: number, v: number, farther = 0): number {
  const [fx, fy] = [((u + 1) / 2) * (field.x.n - 1), ((v + 1) / 2) * (field.y.n - 1)];
  let state = THERE;
  for (let j = Math.floor(fy + 1e-9) - farther; j <= Math.ceil(fy - 1e-9) + farther; j++) {
    for (let i = Math.floor(fx + 1e-9) - farther; i <= Math.ceil(fx - 1e-9) + farther; i++) {
      if (i < 0 || j < 0 || i >= field.x.n || j >= field.y.n) continue;
      const here = field.state[j * field.x.n + i];
      if (here === MISSING || (here === DIVERGED && state === THERE)) state = here;
    }
  }
  return state;
}

/** Every second vertex or so: for looking for a view. */
export function coarse(field: Field, stride: number): Field {
  const pick = (n: number) => Array.from({ length: Math.floor((n - 1) / stride) + 1 }, (_, i) => i * stride);
  const [columns, rows] = [pick(field.x.n), pick(field.y.n)];
  const at = rows.flatMap(j => columns.map(i => j * field.x.n + i));
  const span = (axis: Axis, kept: number[]): Axis => ({
    ...axis, n: kept.length, hi: axis.lo + ((axis.hi - axis.lo) * kept[kept.length - 1]) / (axis.n - 1),
  });
  return {
    x: span(field.x, columns), y: span(field.y, rows), scale: field.scale,
    loss: Float64Array.from(at, k => field.loss[k]),
    height: Float32Array.from(at, k => field.height[k]),
    level: Float32Array.from(at, k => field.level[k]),
    support: Float32Array.from(at, k => field.support[k]),
    state: Uint8Array.from(at, k => field.state[k]),
  };
}
