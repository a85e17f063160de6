/// The surface from above, with the paths: small beside the relief, or instead of it.
import { useEffect, useRef } from 'preact/hooks';
import { cleared, density, useSize } from '../render/canvas';
import { drawMap, underMap } from '../render/contour';
import { world, type Field } from '../render/field';
import type { Mark } from '../film/film';
import { mark } from '../render/glyph';
import { indexAt, type Track } from '../film/track';
import { JUMP, UNDONE, wayOf } from '../film/way';
import type { Theme } from '../render/theme';

export interface MapProps {
  field: Field;
  surface: string;
  tracks: Track[];
  marks: Mark[];
  t: number;
  selected: number;
  theme: Theme;
  description: string;
  onStart: ((x: number, y: number) => void) | null;
}

export function MapView({ field, surface, tracks, marks, t, selected, theme, description, onStart }: MapProps) {
  const [box, width, height] = useSize();
  const ground = useRef<HTMLCanvasElement>(null);
  const over = useRef<HTMLCanvasElement>(null);
  useEffect(() => {
    if (!width) return;
    const scale = density();
    const canvas = ground.current!;
    [canvas.width, canvas.height] = [Math.round(width * scale), Math.round(height * scale)];
    canvas.getContext('2d')!.putImageData(drawMap(field, canvas.width, canvas.height, theme), 0, 0);
  }, [width, height, field, theme]);
  useEffect(() => {
    if (!width) return;
    const c = cleared(over.current!, width, height);
    const place = (x: number, y: number): [number, number] =>
      [((world(field.x, x) + 1) / 2) * width, ((1 - world(field.y, y)) / 2) * height];
    c.lineJoin = c.lineCap = 'round';
    marks.forEach(m => drawMark(c, m, ...place(m.x, m.y)));
    const order = tracks.map((_, i) => i).sort((a, b) => Number(a === selected) - Number(b === selected));
    const size = Math.min(1.6, Math.max(1, width / 184));
    const heads = order.map(i => drawTrack(c, tracks[i], surface, t, theme.members[i % 6], theme.casing, size, place));
    heads.forEach((at, k) => at && mark(c, order[k], ...at, 3.3 * size, theme.members[order[k] % 6], theme.casing));
  }, [width, height, field, surface, tracks, marks, t, selected, theme]);
  return (
    <div
      class={onStart ? 'map starts' : 'map'} ref={box} role="img" aria-label={description}
      onClick={e => {
        const { left, top } = e.currentTarget.getBoundingClientRect();
        onStart?.(...underMap(field, e.clientX - left, e.clientY - top, width, height));
      }}
    >
      <canvas ref={ground} class="fill" />
      <canvas ref={over} class="fill" />
    </div>
  );
}

function drawMark(c: CanvasRenderingContext2D, { kind }: Mark, x: number, y: number): void {
  if (kind === 'escape') return;
  const [a, b] = kind === 'minimum' ? [4, 0] : [3, 3];
  c.beginPath();
  c.moveTo(x - a, y - b);
  c.lineTo(x + a, y + b);
  c.moveTo(x + b, y - a);
  c.lineTo(x - b, y + a);
  for (const [style, line] of [['rgba(10, 20, 26, 0.8)', 3.4], ['#FFFFFF', 1.4]] as const) {
    c.strokeStyle = style;
    c.lineWidth = line;
    c.stroke();
  }
}

/** Draws a path up to a step; returns where it is then. */
function drawTrack(
  c: CanvasRenderingContext2D, track: Track, surface: string, t: number, colour: string, casing: string, size: number,
  place: (x: number, y: number) => [number, number],
): [number, number] | null {
  const on = wayOf(track, surface);
  if (!on) return null;
  const last = Math.max(0, indexAt(on.t, t));
  const kept = new Path2D();
  const undone = new Path2D();
  let [px, py, before] = [NaN, NaN, -1];
  for (let k = 0; k <= last; k++) {
    const [x, y] = place(on.x[k], on.y[k]);
    const state = on.state[k];
    if (Number.isNaN(x) || Number.isNaN(y)) [px, py] = [NaN, NaN];
    if (Number.isNaN(x) || Number.isNaN(y) || (state === before && k < last && Math.abs(x - px) + Math.abs(y - py) < 0.5)) continue;
    const path = state === UNDONE ? undone : kept;
    if (state === JUMP || Number.isNaN(px)) path.moveTo(x, y);
    else if (state !== before) path.moveTo(px, py);
    if (state !== JUMP) path.lineTo(x, y);
    [px, py, before] = [x, y, state];
  }
  const stroke = (path: Path2D, style: string, line: number, alpha: number) => {
    c.strokeStyle = style;
    c.lineWidth = line * size;
    c.globalAlpha = alpha;
    c.stroke(path);
  };
  c.setLineDash([3 * size, 3 * size]);
  stroke(undone, colour, 1.3, 1);
  c.setLineDash([]);
  stroke(kept, casing, 3.4, 0.8);
  stroke(kept, colour, 1.5, 1);
  c.globalAlpha = 1;
  return Number.isNaN(px) ? null : [px, py];
}
