/// Numbers as people read them, and where ticks go.
import type { Metric } from '../film/film';

const whole = new Intl.NumberFormat('en-US');
const SUPERSCRIPT: Record<string, string> = { '-': '⁻' };
[...'⁰¹²³⁴⁵⁶⁷⁸⁹'].forEach((s, i) => (SUPERSCRIPT[i] = s));

const minus = (text: string) => text.replace('-', '−');

/** A count with commas. */
export const count = (n: number): string => minus(whole.format(Math.round(n)));

/** 10ⁿ. */
export const powerOfTen = (n: number): string => '10' + [...String(n)].map(c => SUPERSCRIPT[c]).join('');

/** A number with so many digits, in powers of ten where it is very large or small. */
export function decimal(v: number, digits = 3): string {
  if (Number.isNaN(v)) return '—';
  if (!Number.isFinite(v)) return v > 0 ? '∞' : '−∞';
  if (v === 0) return '0';
  const exponent = Math.floor(Math.log10(Math.abs(v)));
  if (exponent >= digits + 1 || exponent < -4) {
    const mantissa = (v / 10 ** exponent).toPrecision(Math.max(1, digits - 1));
    return minus(`${mantissa} × ${powerOfTen(exponent)}`);
  }
  return minus(exponent >= digits ? whole.format(Math.round(v)) : v.toPrecision(digits));
}

/** A number with two significant digits, trailing zeros included: for losses. */
export function twoDigits(v: number): string {
  if (!Number.isFinite(v) || v === 0) return decimal(v);
  const value = Number(v.toPrecision(2));
  const exponent = Math.floor(Math.log10(Math.abs(value)) + 1e-9);
  if (exponent < -4 || exponent > 5) return minus(`${(value / 10 ** exponent).toFixed(1)} × ${powerOfTen(exponent)}`);
  return minus(exponent > 2 ? whole.format(value) : value.toFixed(Math.max(0, 1 - exponent)));
}

/** A share in percent, with one decimal below 100. */
export const percent = (share: number): string => (share === 1 ? '100 %' : minus(`${(100 * share).toFixed(1)} %`));

/** A metric's value with its unit. */
export function metricText({ name, unit }: Metric, v: number): string {
  if (!Number.isFinite(v)) return Number.isNaN(v) ? 'NaN' : 'infinite';
  return unit ? percent(v) : name === 'loss' ? twoDigits(v) : short(v);
}

/** The 95 % interval of a share of samples (Wilson, 1927). */
export function wilson(share: number, samples: number): [number, number] {
  const z = 1.959964;
  const size = 1 + (z * z) / samples;
  const middle = (share + (z * z) / (2 * samples)) / size;
  const half = (z * Math.sqrt((share * (1 - share)) / samples + (z * z) / (4 * samples * samples))) / size;
  return [Math.max(0, middle - half), Math.min(1, middle + half)];
}

/** A number without trailing zeros, for settings and ticks. */
export function short(v: number, digits = 3): string {
  const size = Math.abs(v);
  if (!Number.isFinite(v)) return decimal(v);
  if (v !== 0 && (size >= 1e6 || size < 1e-4)) {
    const exponent = Math.floor(Math.log10(size) + 1e-9);
    const mantissa = Number((v / 10 ** exponent).toPrecision(digits));
    return minus((mantissa === 1 ? '' : mantissa === -1 ? '-' : `${mantissa} × `) + powerOfTen(exponent));
  }
  const rounded = Number(v.toPrecision(size >= 1000 ? Math.max(4, digits) : digits));
  return minus(size >= 1000 ? whole.format(rounded) : String(rounded));
}

/** A tick's number: on a logarithmic axis small and large powers of ten are written as such. */
export function tickText(v: number, log: boolean): string {
  const exponent = Math.round(Math.log10(Math.abs(v)));
  const isPower = Math.abs(v / 10 ** exponent - 1) < 1e-9;
  return log && isPower && (exponent < -3 || exponent > 3) ? powerOfTen(exponent) : short(v);
}

/** About so many round numbers from lo to hi. */
export function linearTicks(lo: number, hi: number, about: number): number[] {
  if (!(hi > lo)) return [lo];
  const raw = (hi - lo) / about;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = power * ([1, 2, 5, 10].find(m => m * power >= raw * 0.999) ?? 10);
  const first = Math.ceil(lo / step - 1e-9);
  const last = Math.floor(hi / step + 1e-9);
  return Array.from({ length: last - first + 1 }, (_, i) => Number(((first + i) * step).toPrecision(12)));
}

/** Powers of ten from lo to hi, thinned to about so many; 1, 3, 10 where there are few. */
export function logTicks(lo: number, hi: number, about: number): number[] {
  const first = Math.ceil(Math.log10(lo) - 1e-9);
  const last = Math.floor(Math.log10(hi) + 1e-9);
  const stride = Math.max(1, Math.ceil((last - first + 1) / about));
  const powers: number[] = [];
  for (let e = first; e <= last; e++) if (((e % stride) + stride) % stride === 0) powers.push(10 ** e);
  if (powers.length > 2 || (powers.length === 2 && hi / lo > 300) || hi / lo < 1.01) return powers;
  const fine: number[] = [];
  for (let e = first - 1; e <= last; e++) for (const m of [1, 3]) fine.push(Number(`${m}e${e}`));
  const inside = fine.filter(v => v >= lo && v <= hi);
  return inside.length > 1 ? inside : linearTicks(lo, hi, about);
}
