/// Charts of the loss, the learning rate and others against the step: spikes stay visible, the future is faint.
import { useEffect, useMemo, useRef } from 'preact/hooks';
import { cleared, useFonts, useSize } from '../render/canvas';
import { outline } from '../render/glyph';
import { write } from '../render/labels';
import { linearTicks, logTicks, tickText } from './numbers';
import { constants, type Theme } from '../render/theme';
import { valueAt, type Series } from '../film/track';

export interface Line {
  series: Series;
  /** Its last step: there its head stays. */
  last: number;
  member: number;
  colour: string;
  /** Points only, for what is measured now and then. */
  dots: boolean;
}

export interface CurvesProps {
  lines: Line[];
  steps: number;
  t: number;
  theme: Theme;
  label: string;
  /** Decades that a logarithmic axis shows below the greatest value. */
  decades: number;
  onSeek(t: number): void;
}

const { left: LEFT, right: RIGHT, top: TOP, bottom: BOTTOM, band: BAND, pixelsPerTick } = constants.charts;
/** Ticks nearer than this would write over one another. */
const LETTERS = 13;

interface Range {
  log: boolean;
  lo: number;
  hi: number;
}

/** The axis for some curves: logarithmic where they ask for it and nothing is below zero. */
export function rangeOf(lines: Line[], decades: number): Range {
  let [lo, hi, positive] = [Infinity, -Infinity, Infinity];
  for (const { series } of lines) {
    for (const values of [series.lo, series.hi, series.mid]) {
      for (const v of values) {
        if (!Number.isFinite(v)) continue;
        if (v < lo) lo = v;
        if (v > hi) hi = v;
        if (v > 0 && v < positive) positive = v;
      }
    }
  }
  if (!(hi >= lo)) return { log: false, lo: 0, hi: 1 };
  const log = lo >= 0 && hi > 0 && lines.some(line => line.series.log);
  if (log) return { log, lo: Math.max(positive, hi / 10 ** decades) / 1.15, hi: hi * 1.15 };
  const room = (hi - lo || Math.abs(hi) || 1) * 0.04;
  return { log, lo: lo >= 0 && lo < hi * 0.5 ? 0 : lo - room, hi: hi + room };
}

export function Curves({ lines, steps, t, theme, label, decades, onSeek }: CurvesProps) {
  const [box, width, height] = useSize();
  const fonts = useFonts();
  const canvas = useRef<HTMLCanvasElement>(null);
  const range = useMemo(() => rangeOf(lines, decades), [lines, decades]);
  const inner = width - LEFT - RIGHT;
  const x = (step: number) => LEFT + (step / Math.max(1, steps)) * inner;
  const y = (v: number) => {
    const { log, lo, hi } = range;
    const clipped = Math.min(hi, Math.max(lo, Number.isNaN(v) ? lo : v));
    const share = log ? Math.log(clipped / lo) / Math.log(hi / lo) : (clipped - lo) / (hi - lo);
    return height - BOTTOM - share * (height - TOP - BOTTOM);
  };
  useEffect(() => {
    if (!width || !height) return;
    const c = cleared(canvas.current!, width, height);
    drawTicks(c, range, width, height, y, theme);
    for (const line of lines) drawLine(c, line, x, y, theme);
  }, [width, height, lines, steps, range, theme, fonts]);
  const seek = (e: PointerEvent & { currentTarget: HTMLElement }) => {
    const { left } = e.currentTarget.getBoundingClientRect();
    onSeek(((e.clientX - left - LEFT) / inner) * steps);
  };
  return (
    <div
      class="plot" ref={box} role="img" aria-label={label}
      onPointerDown={e => {
        e.currentTarget.setPointerCapture(e.pointerId);
        seek(e);
      }}
      onPointerMove={e => e.buttons && seek(e)}
    >
      <canvas ref={canvas} class="fill" />
      <i class="future" style={{ transform: `translateX(${x(t)}px)` }} />
      <i class="cursor" style={{ transform: `translateX(${x(t)}px)` }} />
      {width > 0 && lines.filter(line => !line.dots).map(({ series, last, member, colour }) => {
        const at = Math.min(t, last);
        const v = valueAt(series, at);
        return Number.isNaN(v) ? null : (
          <svg key={member} class="point" width="14" height="14" viewBox="-7 -7 14 14" aria-hidden="true"
            style={{ transform: `translate(${x(at)}px, ${y(v)}px)` }}>
            <path d={outline(member, 3.8)} fill={colour} stroke={theme.paper} stroke-width="1.4" />
          </svg>
        );
      })}
    </div>
  );
}

type Context = CanvasRenderingContext2D;
type Place = (v: number) => number;

function drawTicks(c: Context, { log, lo, hi }: Range, width: number, height: number, y: Place, theme: Theme): void {
  const about = Math.max(2, Math.round(height / pixelsPerTick));
  c.textAlign = 'right';
  c.textBaseline = 'middle';
  c.lineWidth = 1;
  let before = Infinity;
  for (const v of (log ? logTicks : linearTicks)(lo, hi, about)) {
    const at = Math.round(y(v)) + 0.5;
    if (before - at < LETTERS) continue;
    before = at;
    c.strokeStyle = theme.hair;
    c.beginPath();
    c.moveTo(LEFT, at);
    c.lineTo(width - RIGHT, at);
    c.stroke();
    c.fillStyle = theme.ink3;
    write(c, tickText(v, log), LEFT - 8, at, 11);
  }
}

function drawLine(c: Context, line: Line, x: Place, y: Place, theme: Theme): void {
  const { series, dots } = line;
  c.strokeStyle = c.fillStyle = line.colour;
  if (dots) return drawDots(c, series, x, y, theme);
  c.globalAlpha = BAND;
  if (series.lo !== series.hi) drawColumns(c, series.t, series.lo, series.hi, x, y, false);
  c.globalAlpha = 1;
  c.lineWidth = 1.6;
  drawColumns(c, series.t, series.mid, series.mid, x, y, true);
}

function drawDots(c: Context, { t, mid }: Series, x: Place, y: Place, theme: Theme): void {
  c.fillStyle = theme.ink2;
  for (let k = 0; k < t.length; k++) {
    if (!Number.isFinite(mid[k])) continue;
    c.beginPath();
    c.arc(x(t[k]), y(mid[k]), 2.1, 0, 2 * Math.PI);
    c.fill();
  }
}

/** Least and greatest of each column of pixels, as a line through them or as a band, so that no spike is lost. */
function drawColumns(c: Context, t: Float64Array, lo: Float64Array, hi: Float64Array, x: Place, y: Place, asLine: boolean): void {
  c.lineJoin = 'round';
  c.beginPath();
  for (let k = 0; k < t.length; ) {
    const column = Math.round(x(t[k]) * 2);
    let [least, greatest] = [Infinity, -Infinity];
    const first = hi[k];
    for (; k < t.length && Math.round(x(t[k]) * 2) === column; k++) {
      if (lo[k] < least) least = lo[k];
      if (hi[k] > greatest) greatest = hi[k];
    }
    if (greatest < least) continue; // nothing but NaN
    const [top, bottom] = [y(greatest), y(least)];
    if (!asLine) c.rect(column / 2 - 0.4, top - 0.5, 0.9, bottom - top + 1);
    else {
      c.lineTo(column / 2, y(Number.isNaN(first) ? greatest : first));
      if (bottom - top > 0.5) {
        c.lineTo(column / 2, top);
        c.lineTo(column / 2, bottom);
      }
      c.lineTo(column / 2, y(Number.isNaN(hi[k - 1]) ? greatest : hi[k - 1]));
    }
  }
  if (asLine) c.stroke();
  else c.fill();
}
