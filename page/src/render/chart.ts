/// Drawing of a chart's parts on a canvas.
import type { Attempt } from '../film/film';
import { linearTicks, logTicks, short, tickText, count } from '../ui/numbers';
import type { Series } from '../film/track';
import type { Box } from './boxes';
import { write } from './labels';
import type { Line, Range } from './range';
import { constants, type Theme } from './theme';

type Place = (v: number) => number;

export interface Plot {
  c: CanvasRenderingContext2D;
  range: Range;
  width: number;
  height: number;
  steps: number;
  x: Place;
  y: Place;
  theme: Theme;
  percent: boolean;
}

const { left: LEFT, right: RIGHT, top: TOP, bottom: BOTTOM, band: BAND, pixelsPerTick } = constants.charts;
/** Ticks nearer than this would write over one another: down, and across. */
const DOWN = 15;
const ACROSS = 46;
const LETTER = 6.2;
const HATCH = 5;
/** Steps whose losses a bar of the band joins, at least. */
const BATCHES_PER_BAR = 3;
/** Pixels between the ends of a bin from which a line goes through both. */
const APART = 3;

/** Ticks of both axes with lines across; returns where their text is. */
export function drawTicks({ c, range: { log, lo, hi }, width, height, steps, x, y, theme, percent }: Plot): Box[] {
  const boxes: Box[] = [];
  c.textBaseline = 'middle';
  c.lineWidth = 1;
  c.textAlign = 'right';
  const scale = percent ? 100 : 1;
  const values = (log ? logTicks : linearTicks)(lo * scale, hi * scale, Math.max(2, Math.round(height / pixelsPerTick))).map(v => v / scale);
  let before = Infinity;
  for (const v of values) {
    const at = Math.round(y(v)) + 0.5;
    if (before - at < DOWN) continue;
    before = at;
    c.strokeStyle = theme.hair;
    c.beginPath();
    c.moveTo(LEFT, at);
    c.lineTo(width - RIGHT, at);
    c.stroke();
    c.fillStyle = theme.ink3;
    const text = percent ? `${short(100 * v)} %` : tickText(v, log).replace(' × ', '×');
    write(c, text, LEFT - 8, at, 11);
    boxes.push({ left: LEFT - 8 - LETTER * text.length, right: LEFT - 8, top: at - 6, bottom: at + 6 });
  }
  const right = x(steps);
  const ends = [0, steps];
  const middle = linearTicks(0, steps, Math.max(1, Math.floor((width - LEFT - RIGHT) / 62))).filter(t => t > 0 && t < steps);
  const taken: [number, number][] = [];
  for (const t of [...ends, ...middle]) {
    const text = count(t);
    const half = (text.length * LETTER) / 2;
    const at = Math.min(right - half, Math.max(LEFT + (t === 0 ? half : 0), x(t)));
    if (taken.some(([from, to]) => at - half < to + 8 && at + half > from - 8) || (t > 0 && t < steps && ends.some(end => Math.abs(x(end) - at) < ACROSS))) continue;
    taken.push([at - half, at + half]);
    c.textAlign = 'center';
    c.fillStyle = theme.ink3;
    write(c, text, at, height - 7, 11);
    boxes.push({ left: at - half, right: at + half, top: height - 13, bottom: height - 1 });
  }
  return boxes;
}

/** Undone steps as hatched spans, with a thin line where the run went back. */
export function drawHatch({ c, height, x, theme }: Plot, attempts: Attempt[]): void {
  c.save();
  c.strokeStyle = theme.ink3;
  const [top, bottom] = [TOP, height - BOTTOM];
  attempts.forEach(({ from, to, kept }) => {
    if (kept) return;
    const [left, right] = [x(from), x(to)];
    c.save();
    c.beginPath();
    c.rect(left, top, right - left, bottom - top);
    c.clip();
    c.globalAlpha = 0.32;
    c.lineWidth = 1;
    c.beginPath();
    const size = bottom - top;
    for (let at = Math.floor((left - size) / HATCH) * HATCH; at < right; at += HATCH) {
      c.moveTo(at, bottom);
      c.lineTo(at + size, top);
    }
    c.stroke();
    c.restore();
    c.globalAlpha = 0.7;
    c.beginPath();
    c.moveTo(right, top);
    c.lineTo(right, bottom);
    c.stroke();
  });
  c.restore();
}

/** Spans in which a curve is no number. */
export function gapsOf({ t, mid }: Series, last: number): [from: number, to: number][] {
  const spans: [number, number][] = [];
  for (let k = 0; k < t.length; k++) {
    if (!Number.isNaN(mid[k])) continue;
    const from = t[k];
    while (k + 1 < t.length && Number.isNaN(mid[k + 1])) k++;
    spans.push([from, t[k + 1] ?? Math.max(last, t[k])]);
  }
  return spans;
}

/** What is no number: a pale span; of what is measured now and then, a cross below. */
export function drawGaps({ c, width, height, x, theme }: Plot, { series, last, kind }: Line): void {
  const bottom = height - BOTTOM;
  c.save();
  c.fillStyle = c.strokeStyle = theme.bad;
  for (const [from, to] of gapsOf(series, last)) {
    if (kind === 'validation') {
      for (let k = 0; k < series.t.length; k++) {
        if (series.t[k] < from || series.t[k] > to || !Number.isNaN(series.mid[k])) continue;
        const at = Math.min(width - RIGHT - 4, x(series.t[k]));
        c.lineWidth = 1.4;
        c.beginPath();
        for (const [dx, dy] of [[-3, -3], [3, 3], [-3, 3], [3, -3]]) (dx < 0 ? c.moveTo : c.lineTo).call(c, at + dx, bottom - 7 + dy);
        c.stroke();
      }
      continue;
    }
    const left = x(from);
    const size = Math.max(1.5, x(to) - left);
    c.globalAlpha = 0.13;
    c.fillRect(left, TOP, size, bottom - TOP);
    c.globalAlpha = 1;
    c.fillRect(left, TOP, size, 2);
  }
  c.restore();
}

/** Infinite values: triangles at the top. */
export function drawInfinite({ c, x, theme }: Plot, { series }: Line): void {
  c.fillStyle = theme.bad;
  let before = -Infinity;
  for (let k = 0; k < series.t.length; k++) {
    if (series.hi[k] !== Infinity) continue;
    const at = x(series.t[k]);
    if (at - before < 7) continue;
    before = at;
    c.beginPath();
    c.moveTo(at, TOP - 1);
    c.lineTo(at + 4, TOP + 6);
    c.lineTo(at - 4, TOP + 6);
    c.fill();
  }
}

/** A member's line, over the band of its single values where it has one. */
export function drawLine(plot: Plot, { series, colour, kind }: Line): void {
  const { c } = plot;
  c.strokeStyle = c.fillStyle = colour;
  if (kind === 'train') {
    c.globalAlpha = BAND;
    drawBand(plot, series);
    c.globalAlpha = 1;
  }
  c.lineWidth = 1.7;
  drawMiddle(plot, series);
}

/** What is measured now and then: open circles on a thin line in ink, and the interval of the last one. */
export function drawValidation({ c, range: { lo, hi }, x, y, theme }: Plot, { series: { t, mid }, member, colour }: Line, interval: [number, number] | null): void {
  const ink = member < 0 ? theme.ink : colour;
  c.save();
  c.lineJoin = 'round';
  c.strokeStyle = ink;
  c.globalAlpha = 0.55;
  c.lineWidth = 1.1;
  c.beginPath();
  let open = false;
  const inside = (v: number) => v >= lo && v <= hi;
  for (let k = 0; k < t.length; k++) {
    const enters = Number.isFinite(mid[k]) && (inside(mid[k]) || inside(mid[k + 1]) || inside(mid[k - 1]));
    if (!enters) open = false;
    else {
      (open ? c.lineTo : c.moveTo).call(c, x(t[k]), y(mid[k]));
      open = true;
    }
  }
  c.stroke();
  c.globalAlpha = 1;
  c.lineWidth = 1.3;
  c.fillStyle = theme.paper;
  const near = t.length > 1 ? (x(t[t.length - 1]) - x(t[0])) / (t.length - 1) : 99;
  const radius = Math.min(2.6, Math.max(1.2, near / 3));
  for (let k = 0; k < t.length; k++) {
    if (!Number.isFinite(mid[k]) || !inside(mid[k])) continue;
    c.beginPath();
    c.arc(x(t[k]), y(mid[k]), radius, 0, 2 * Math.PI);
    c.fill();
    c.stroke();
  }
  if (interval && t.length) {
    const at = x(t[t.length - 1]);
    c.lineWidth = 1.4;
    c.beginPath();
    c.moveTo(at, y(interval[0]));
    c.lineTo(at, y(interval[1]));
    for (const end of interval) {
      c.moveTo(at - 4, y(end));
      c.lineTo(at + 4, y(end));
    }
    c.stroke();
  }
  c.restore();
}

/** Values of a bin of neighbouring steps. */
interface Bin {
  at: number;
  first: number;
  last: number;
  least: number;
  greatest: number;
  /** Whether a value before it, or in it, is no number. */
  gap: boolean;
}

/** Least and greatest value of bins at least this many pixels wide, so that no spike is lost; bins of NaN are left out. */
function binsOf(x: Place, t: Float64Array, lo: Float64Array, hi: Float64Array, pixels: number): Bin[] {
  const bins: Bin[] = [];
  let gap = true;
  for (let k = 0; k < t.length; ) {
    const from = k;
    const column = Math.floor(x(t[k]) / pixels);
    let [least, greatest, first, last] = [Infinity, -Infinity, NaN, NaN];
    for (; k < t.length && Math.floor(x(t[k]) / pixels) === column; k++) {
      if (Number.isNaN(hi[k])) {
        if (greatest < least) gap = true;
        else break;
        continue;
      }
      if (lo[k] < least) least = lo[k];
      if (hi[k] > greatest) greatest = hi[k];
      if (Number.isNaN(first)) first = hi[k];
      last = hi[k];
    }
    if (greatest < least) continue;
    bins.push({ at: (x(t[from]) + x(t[k - 1])) / 2, first, last, least, greatest, gap });
    gap = k < t.length && Number.isNaN(hi[k]);
  }
  return bins;
}

/** Bars from the least to the greatest single value. */
function drawBand({ c, x, y, steps, width }: Plot, { t, lo, hi }: Series): void {
  const pixels = Math.max(2, (BATCHES_PER_BAR * (width - LEFT - RIGHT)) / Math.max(1, steps));
  c.beginPath();
  for (const { at, least, greatest } of binsOf(x, t, lo, hi, pixels)) {
    const [top, bottom] = [y(greatest), y(least)];
    c.rect(at - pixels / 2, top - 0.5, pixels, bottom - top + 1);
  }
  c.fill();
}

/** A line through the bins' middles; where a spike leaves a bin's ends, through the spike. NaN is a gap. */
function drawMiddle({ c, x, y, steps }: Plot, { t, mid }: Series): void {
  c.lineJoin = c.lineCap = 'round';
  c.beginPath();
  const bins = binsOf(x, t, mid, mid, 2);
  const last = mid.findLast(v => !Number.isNaN(v));
  let before = NaN;
  bins.forEach(({ at, first, last: end, least, greatest, gap }, i) => {
    const [top, bottom] = [y(greatest), y(least)];
    const spike = Math.min(y(first), y(end)) - top > APART || bottom - Math.max(y(first), y(end)) > APART;
    const ends = !spike ? [(y(first) + y(end)) / 2] : Math.abs(before - top) < Math.abs(before - bottom) ? [top, bottom] : [bottom, top];
    if (gap) c.moveTo(i === 0 ? x(t[0]) : at, i === 0 && !Number.isNaN(mid[0]) ? y(mid[0]) : ends[0]);
    for (const height of ends) c.lineTo(at, height);
    if (i === bins.length - 1 && last !== undefined && t.length && !Number.isNaN(mid[t.length - 1])) c.lineTo(x(Math.min(steps, t[t.length - 1])), y(last));
    before = ends.at(-1)!;
  });
  c.stroke();
}
