/// From losses to heights of the relief, with the places of contour lines and ticks.
import { linearTicks, short } from '../ui/numbers';
import { constants } from './theme';

export interface Scale {
  /** 0 at the smallest loss, 1 at the largest. */
  height(loss: number): number;
  /** The height's inverse. */
  loss(height: number): number;
  /** Contour lines lie where this is an integer. */
  level(loss: number): number;
  /** Distance in loss between the contour lines around a loss. */
  spacing(loss: number): number;
  /** One contour line in so many is thick. */
  major: number;
  ticks: { at: number; text: string }[];
  /** Of the block, in half widths. */
  block: number;
  /** The smallest and the largest loss. */
  ends: [number, number];
}

/** `soft`: the share of the range below which a logarithmic scale is nearly linear. */
const { lines, linesPerDecade, soft: softShare, linearBlock, logBlock, linearMajor } = constants.scale;

/** Heights proportional to the loss. */
export function linearScale(lo: number, hi: number): Scale {
  const range = hi - lo || 1;
  const step = linearTicks(0, range, lines)[1] ?? range;
  const ticks = linearTicks(lo, hi, 4).map(v => ({ at: (v - lo) / range, text: short(v) }));
  return {
    height: v => (v - lo) / range,
    loss: h => lo + h * range,
    level: v => v / step,
    spacing: () => step,
    major: linearMajor,
    ticks,
    block: linearBlock,
    ends: [lo, hi],
  };
}

/** Heights proportional to the logarithm of the loss above its smallest value; linear near that value. */
export function logScale(lo: number, hi: number): Scale {
  const soft = (hi - lo || 1) * softShare;
  const log = (v: number) => Math.log10(Math.max(0, v - lo) + soft);
  const [bottom, top] = [log(lo), log(hi)];
  const height = (v: number) => (log(v) - bottom) / (top - bottom || 1);
  const first = Math.ceil(Math.log10(soft * 2.5));
  const powers = Array.from({ length: Math.floor(Math.log10(hi - lo) + 1e-9) - first + 1 }, (_, i) => 10 ** (first + i));
  const ticks = [lo, ...powers.map(p => p + lo)].map(v => ({ at: height(v), text: short(v, 2) }));
  return {
    height,
    loss: h => lo + 10 ** (bottom + h * (top - bottom)) - soft,
    level: v => log(v) * linesPerDecade,
    spacing: v => ((v - lo + soft) * Math.LN10) / linesPerDecade,
    major: linesPerDecade,
    ticks,
    block: logBlock,
    ends: [lo, hi],
  };
}
