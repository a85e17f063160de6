/// Descents that the page makes by itself, on a terrain.
import type { Terrain } from '../expression';
import { mover, type Program } from './program';
import { schedule } from './schedule';
import type { Ending } from '../film/track';

export interface Racer {
  program: Program;
  hyper: Record<string, number | string>;
  schedule: string;
}

export interface Course {
  terrain: Terrain;
  start: [number, number];
  steps: number;
  /** Standard deviation of what is added to each component of the gradient, as a batch would. */
  noise: number;
  /** The loss that counts as having arrived; null where no minimum is known. */
  target: number | null;
  /** Losses beyond it are divergence. */
  bound: number;
}

/** All arrays hold k = 0 … n: after k steps. */
export interface Descent {
  n: number;
  x: Float64Array;
  y: Float64Array;
  loss: Float64Array;
  rate: Float64Array;
  gradNorm: Float64Array;
  /** The rule's second moments before the step from k, two each; null where it has none. */
  second: Float64Array | null;
  ending: Ending;
}

/** Gradient noise of the same seed for every member, so that they see the same batches. */
const SEED = 7;

/** Where a rule goes. */
export function descend(racer: Racer, course: Course): Descent {
  const { terrain, start, steps, noise, target, bound } = course;
  const w = Float64Array.from(start);
  const g = new Float64Array(2);
  const rule = mover(racer.program, w);
  const hypers = hyperparameters(racer, steps);
  const random = normal(SEED);
  const second = rule.slot('v');
  const columns = Array.from({ length: 5 }, () => new Float64Array(steps + 1));
  const [x, y, loss, rate, gradNorm] = columns;
  const moments = second && new Float64Array(2 * (steps + 1));
  const ending: Ending = { kind: 'moving', step: steps };
  let n = 0;
  for (let k = 0; k <= steps; k++) {
    n = k;
    [x[k], y[k]] = rule.reported(w);
    loss[k] = terrain.value(x[k], y[k]);
    const { x: gx, y: gy } = terrain.jet(w[0], w[1]);
    gradNorm[k] = Math.hypot(gx, gy);
    const given = hypers(k + 1);
    rate[k] = given.lr;
    moments?.set(second!, 2 * k);
    if (!(Math.abs(loss[k]) <= bound) || !Number.isFinite(gradNorm[k])) {
      Object.assign(ending, { kind: Number.isNaN(loss[k]) && Number.isFinite(w[0] + w[1]) ? 'undefined' : 'diverged', step: k });
      break;
    }
    if (ending.kind === 'moving' && target !== null && loss[k] < target) Object.assign(ending, { kind: 'reached', step: k });
    g[0] = gx + noise * random();
    g[1] = gy + noise * random();
    rule.step(w, g, given);
  }
  const cut = (values: Float64Array) => values.subarray(0, n + 1);
  return { n, x: cut(x), y: cut(y), loss: cut(loss), rate: cut(rate), gradNorm: cut(gradNorm), second: moments, ending };
}

/** The hyperparameters at step t: the rate by its schedule, and those that are schedules' texts. */
function hyperparameters(racer: Racer, steps: number): (t: number) => Record<string, number> {
  const all: Record<string, number | string> = { ...racer.program.hypers, ...racer.hyper };
  const moving = Object.entries(all).flatMap(([name, value]) =>
    typeof value === 'string' ? [[name, schedule(value, steps)] as const] : []);
  const now = Object.fromEntries(Object.entries(all).filter(([, v]) => typeof v === 'number')) as Record<string, number>;
  const base = now.lr;
  const factor = schedule(racer.schedule, steps, base);
  return t => {
    now.lr = base * factor(t);
    for (const [name, value] of moving) now[name] = value(t);
    return now;
  };
}

/** Normal numbers by Box and Muller, from a small generator (mulberry32). */
export function normal(seed: number): () => number {
  let state = seed;
  const uniform = () => {
    state = (state + 0x6d2b79f5) | 0;
    let z = Math.imul(state ^ (state >>> 15), 1 | state);
    z = (z + Math.imul(z ^ (z >>> 7), 61 | z)) ^ z;
    return (((z ^ (z >>> 14)) >>> 0) + 0.5) / 2 ** 32;
  };
  return () => Math.sqrt(-2 * Math.log(uniform())) * Math.cos(2 * Math.PI * uniform());
}
