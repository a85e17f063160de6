/// Charts against the step: spikes stay visible, what is no number is a gap with a mark, undone steps are hatched.
import { useEffect, useMemo, useRef } from 'preact/hooks';
import './curves.css';
import type { Attempt } from '../film/film';
import type { Box } from '../render/boxes';
import { cleared, useFonts, useSize } from '../render/canvas';
import { drawGaps, drawHatch, drawInfinite, drawLine, drawTicks, drawValidation, type Plot } from '../render/chart';
import { outline } from '../render/glyph';
import { rangeOf, type Line, type Range } from '../render/range';
import { constants, type Theme } from '../render/theme';
import { valueAt } from '../film/track';

export interface CurvesProps {
  lines: Line[];
  attempts: Attempt[];
  steps: number;
  t: number;
  theme: Theme;
  label: string;
  /** Decades that a logarithmic axis shows below the greatest value. */
  decades: number;
  /** Whether values are shares, written in percent. */
  percent?: boolean;
  /** The interval of the last value. */
  interval?: [number, number] | null;
  onSeek(t: number): void;
}

const { left: LEFT, right: RIGHT, top: TOP, bottom: BOTTOM } = constants.charts;

export function Curves({ lines, attempts, steps, t, theme, label, decades, percent = false, interval = null, onSeek }: CurvesProps) {
  const [box, width, height] = useSize();
  const fonts = useFonts();
  const canvas = useRef<HTMLCanvasElement>(null);
  const range = useMemo(() => rangeOf(lines, decades, percent, interval), [lines, decades, percent, interval]);
  const inner = width - LEFT - RIGHT;
  const x = (step: number) => LEFT + (step / Math.max(1, steps)) * inner;
  const y = (v: number) => (range ? place(range, v, height) : 0);
  useEffect(() => {
    if (!width || !height || !range) return;
    const c = cleared(canvas.current!, width, height);
    const plot: Plot = { c, range, width, height, steps, x, y, theme, percent };
    const boxes: Box[] = drawTicks(plot);
    drawHatch(plot, attempts);
    for (const line of lines) drawGaps(plot, line);
    for (const line of lines) if (line.kind !== 'validation') drawLine(plot, line);
    for (const line of lines) if (line.kind === 'validation') drawValidation(plot, line, interval);
    for (const line of lines) drawInfinite(plot, line);
    box.current!.textBoxes = boxes;
  }, [width, height, lines, attempts, steps, range, theme, fonts, percent, interval]);
  const seek = (e: PointerEvent & { currentTarget: HTMLElement }) => {
    const { left } = e.currentTarget.getBoundingClientRect();
    onSeek(((e.clientX - left - LEFT) / inner) * steps);
  };
  if (!range) return <p class="empty" ref={box as never}>{lines.length ? 'No value is a finite number.' : 'Nothing is recorded yet.'}</p>;
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
      <i class="future" style={{ transform: `translateX(${x(t) + 3}px)`, bottom: `${BOTTOM}px` }} />
      <i class="cursor" style={{ transform: `translateX(${x(t)}px)`, top: `${TOP}px`, bottom: `${BOTTOM}px` }} />
      {width > 0 && lines.filter(line => line.kind !== 'validation').map(({ series, last, member, colour }) => {
        const at = Math.min(t, last);
        const v = valueAt(series, at);
        return !Number.isFinite(v) ? null : (
          <svg key={member} class="point" width="14" height="14" viewBox="-7 -7 14 14" aria-hidden="true"
            style={{ transform: `translate(${x(at)}px, ${y(v)}px)` }}>
            <path d={outline(member, 3.8)} fill={colour} stroke={theme.paper} stroke-width="1.4" />
          </svg>
        );
      })}
    </div>
  );
}

/** Height of a value on the canvas, cut at the ends of the axis. */
function place({ log, lo, hi }: Range, v: number, height: number): number {
  const clipped = Math.min(hi, Math.max(lo, v));
  const share = log ? Math.log(clipped / lo) / Math.log(hi / lo) : (clipped - lo) / (hi - lo);
  return height - BOTTOM - share * (height - TOP - BOTTOM);
}
