/// The film: what the page is fed. Member.js is described in program.ts; README.md says what Python must give.
import type { Comparison } from '../compare/comparison';

/** Numbers as base64 of little-endian bytes. NaN: not evaluated; Inf: diverged. */
export interface Col {
  dtype: 'f4' | 'i4';
  shape: number[];
  data: string;
}

export interface Axis {
  name: string;
  lo: number;
  hi: number;
  n: number;
  /** Distance in weight space of one unit of the axis. */
  scale: number;
}

export type MarkKind = 'minimum' | 'saddle' | 'maximum' | 'escape';

export interface Mark {
  kind: MarkKind;
  x: number;
  y: number;
  loss: number;
  text: string;
}

export interface Surface {
  kind: 'terrain' | 'curvature' | 'principal' | 'random' | 'points';
  x: Axis;
  y: Axis;
  height: 'linear' | 'log';
  /** [y.n, x.n]. */
  loss: Col;
  /** Standard error of the loss, [y.n, x.n]. */
  error: Col | null;
  /** A terrain's function of x and y as text, from which the page descends by itself. */
  source: string | null;
  caption: string;
  marks: Mark[];
}

/** A quantity over steps, in buckets of least, greatest and middle. */
export interface Curve {
  t: Col;
  lo: Col;
  hi: Col;
  mid: Col;
  log: boolean;
}

export interface FilmEvent {
  t: number;
  kind: string;
  to?: number;
  text: string;
  /** Reason, action and outcome. */
  seen?: string;
  done?: string;
  after?: string;
  /** The run's own step, where steps were undone before and it is less than t. */
  step?: number;
}

/** What is known of a metric's curve. */
export interface Metric {
  name: string;
  unit: '%' | '';
  better: 'higher' | 'lower' | null;
  /** Of the validation set, where the metric is a share of them. */
  samples: number | null;
}

/** A final number of a run, with its interval or what to compare it with. */
export interface Result {
  label: string;
  value: string;
  detail: string;
}

/** Steps from + 1 to `to`, counted as taken, that the run kept or that a rewind undid. */
export interface Attempt {
  from: number;
  to: number;
  kept: boolean;
}

/** A number with its interval; null where it has no end, since JSON has no infinity. */
export interface Quantity {
  name: string;
  value: number | null;
  lo: number | null;
  hi: number | null;
  reference?: number;
  text: string;
  /** Its name on the page, the value with its error, what it means, and whether to act on it; absent in older films. */
  title?: string;
  display?: string;
  words?: string;
  state?: 'ok' | 'act';
}

export interface Verdict {
  kind: string;
  text: string;
  advice: string;
  numbers: Quantity[];
}

export interface Member {
  name: string;
  rule: string;
  hyper: Record<string, number | string>;
  schedule: string;
  mathml: string;
  js: string;
  /** Points along the way, and where they lie on each surface; `off` is the distance from its plane. */
  path: { t: Col; loss: Col; on: Record<string, { x: Col; y: Col; off: Col }> };
  curves: Record<string, Curve>;
  events: FilmEvent[];
  verdict: Verdict | null;
  /** Of the Hessian where it ended, in any order; absent where they were not measured. */
  eigenvalues?: number[];
  /** Of the curve `metric`, which is the run's; and of the curves of its other metrics. */
  metric?: Metric;
  metrics?: Record<string, Metric>;
  result?: Result[];
  /** Absent where all steps were kept. */
  attempts?: Attempt[];
  /** Whether a guard watched over the run. */
  guard?: boolean;
}

export interface Film {
  format: 1;
  kind: 'run' | 'race' | 'play' | 'compare';
  title: string;
  subtitle: string;
  version: string;
  steps: number;
  live: boolean;
  /** What stands where the relief would; absent for the page's own words. */
  no_surface?: string;
  headline: string;
  advice: string;
  surfaces: Record<string, Surface>;
  members: Record<string, Member>;
  /** How the members ended; only of kind compare. */
  comparison?: Comparison;
}

/** The bytes of a column. */
export function bytes(col: Col): Uint8Array<ArrayBuffer> {
  const text = atob(col.data);
  const out = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) out[i] = text.charCodeAt(i);
  return out;
}

/** The numbers of a column, as float64: steps beyond 2²⁴ stay exact. */
export function numbers(col: Col): Float64Array {
  const raw = bytes(col).buffer;
  return Float64Array.from(col.dtype === 'i4' ? new Int32Array(raw) : new Float32Array(raw));
}

/** The address of the list that a served page belongs to; null in a file. */
export function listOf(document: Document): string | null {
  return document.getElementById('film')!.dataset.list ?? null;
}

/** The film that is embedded in the document, or null where it only comes by frames. */
export function embedded(document: Document): Film | null {
  return JSON.parse(document.getElementById('film')!.textContent || 'null') as Film | null;
}
