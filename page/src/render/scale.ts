/// From losses to heights of the relief, and where its contour lines and its ticks are.
import { linearTicks, short } from '../ui/numbers';

export interface Scale {
  /** 0 at the least loss, 1 at the greatest. */
  height(loss: number): number;
  /** The height's inverse. */
  loss(height: number): number;
  /** Contour lines lie where this is whole. */
  level(loss: number): number;
  /** Distance in loss between the contour lines beside a loss. */
  spacing(loss: number): number;
  /** Every so many contour lines one is thick. */
  major: number;
  ticks: { at: number; text: string }[];
  /** Of the block, in half widths. */
  block: number;
}

const LINES = 32;

/** Heights proportional to the loss. */
export function linearScale(lo: number, hi: number): Scale {
  const range = hi - lo || 1;
  const step = linearTicks(0, range, LINES)[1] ?? range;
  const ticks = linearTicks(lo, hi, 4).map(v => ({ at: (v - lo) / range, text: short(v) }));
  return {
    height: v => (v - lo) / range,
    loss: h => lo + h * range,
    level: v => v / step,
    spacing: () => step,
    major: 5,
    ticks,
    block: 0.7,
  };
}

/** The share of the range below which a logarithmic scale is nearly linear. */
const SOFT = 1.4e-4;
const LINES_A_DECADE = 4;

/** Heights proportional to the logarithm of the loss above its least value; near that value they are linear. */
export function logScale(lo: number, hi: number): Scale {
  const soft = (hi - lo || 1) * SOFT;
  const log = (v: number) => Math.log10(Math.max(0, v - lo) + soft);
  const [bottom, top] = [log(lo), log(hi)];
  const height = (v: number) => (log(v) - bottom) / (top - bottom || 1);
  const first = Math.ceil(Math.log10(soft * 2.5));
  const powers = Array.from({ length: Math.floor(Math.log10(hi - lo) + 1e-9) - first + 1 }, (_, i) => 10 ** (first + i));
  const ticks = [lo, ...powers.map(p => p + lo)].map(v => ({ at: height(v), text: short(v, 2) }));
  return {
    height,
    loss: h => lo + 10 ** (bottom + h * (top - bottom)) - soft,
    level: v => log(v) * LINES_A_DECADE,
    spacing: v => ((v - lo + soft) * Math.LN10) / LINES_A_DECADE,
    major: LINES_A_DECADE,
    ticks,
    block: 0.42,
  };
}
