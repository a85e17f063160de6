/// A surface as the renderer wants it: heights, contour levels and what they are worth, at the vertices of a grid.
import { numbers, type Axis, type Surface } from './film';
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
  const lo = finite.reduce((a, b) => Math.min(a, b), Infinity);
  const hi = finite.reduce((a, b) => Math.max(a, b), -Infinity);
  const scale = (kind === 'log' ? logScale : linearScale)(finite.length ? lo : 0, finite.length ? hi : 1);
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
