/// The relief with the paths on it: turned by dragging, zoomed by the wheel, and by the keyboard.
import { useCallback, useEffect, useMemo, useRef } from 'preact/hooks';
import { HIGHEST, LOWEST, matrix } from '../render/camera';
import { cleared, density, useFonts, useSize } from '../render/canvas';
import { onAxis } from '../render/field';
import type { Mark } from '../film/film';
import { drawLabels, SANS } from '../render/labels';
import { count } from './numbers';
import { drawPaths, outlines, positionAt, type Trace, type View } from '../render/paths';
import type { Relief } from '../render/relief';
import { drawAxes, drawEdges, drawEscape, drawMarks, drawStart } from '../render/scenery';
import type { Theme } from '../render/theme';
import { framed, openingView } from '../render/view';

export interface StageProps {
  relief: Relief;
  traces: (Trace | null)[];
  marks: Mark[];
  t: number;
  last: number;
  selected: number;
  theme: Theme;
  /** Whether the verdict lies over its top left. */
  overlaid: boolean;
  /** What a screen reader says of it. */
  description: string;
  /** Where to descend from, when a place is clicked; null where the page cannot descend. */
  onStart: ((x: number, y: number) => void) | null;
}

/** While moving, a frame above this is drawn coarser. */
const SLOW_MS = 24;
const COARSER = 0.66;
/** After so long without a movement the relief is drawn finely. */
const REST_MS = 120;
const FINEST_PIXELS = 5.2e6;
const NARROW = 640;
const CLICK_PIXELS = 4;
const NEAREST = 4;
const FARTHEST = 0.6;
const TURNS: Record<string, [number, number]> = {
  ArrowLeft: [-0.08, 0], ArrowRight: [0.08, 0], ArrowUp: [0, 0.06], ArrowDown: [0, -0.06],
};
const ZOOMS: Record<string, number> = { '+': 1.1, '=': 1.1, '-': 1 / 1.1 };

/** Puts an image on a canvas of at most this size; a finer one is scaled down once, and not at every frame that is shown. */
function show(image: ImageData, canvas: HTMLCanvasElement, width: number, height: number): CanvasRenderingContext2D {
  [canvas.width, canvas.height] = [Math.round(width), Math.round(height)];
  const context = canvas.getContext('2d')!;
  if (image.width <= canvas.width) {
    context.putImageData(image, 0, 0);
    return context;
  }
  const fine = new OffscreenCanvas(image.width, image.height);
  fine.getContext('2d')!.putImageData(image, 0, 0);
  context.imageSmoothingQuality = 'high';
  context.drawImage(fine, 0, 0, canvas.width, canvas.height);
  return context;
}

export function Stage(props: StageProps) {
  const { relief, traces, marks, t, last, selected, theme, overlaid, description, onStart } = props;
  const [box, width, height] = useSize();
  const fonts = useFonts();
  const ground = useRef<HTMLCanvasElement>(null);
  const over = useRef<HTMLCanvasElement>(null);
  const look = useRef({ azimuth: 0, elevation: 0, zoom: 1, ms: 0, rest: 0, surface: null as Relief | null });
  const edges = useMemo(() => relief.edges(), [relief]);

  const camera = () => framed(look.current.azimuth, look.current.elevation, look.current.zoom, width, height, overlaid);
  const seen = () => matrix(camera(), width / height);

  const paint = useCallback((scale: number) => {
    const began = performance.now();
    relief.resize(Math.round(width * scale), Math.round(height * scale));
    relief.render(seen(), look.current.azimuth);
    const shown = Math.min(scale, density());
    const context = show(relief.image, ground.current!, shown * width, shown * height);
    context.setTransform(shown, 0, 0, shown, 0, 0);
    const view: View = { context, relief, matrix: seen(), width, height, theme };
    drawEdges(view, edges);
    drawAxes(view, relief.field.x, relief.field.y, look.current.azimuth);
    look.current.ms = performance.now() - began;
  }, [relief, edges, theme, width, height, overlaid]);

  const draw = useCallback(() => {
    const context = cleared(over.current!, width, height);
    const view: View = { context, relief, matrix: seen(), width, height, theme };
    const verbose = width >= NARROW;
    const { x, y } = relief.field;
    const labels = drawMarks(view, marks, x, y, verbose);
    const end = traces[selected] && positionAt(traces[selected], last);
    if (end && t >= last) labels.push(...drawEscape(view, marks, x, y, end));
    const first = traces.find(trace => trace !== null);
    if (first) labels.push(...drawStart(view, first, verbose));
    const heads = drawPaths(view, traces, t, selected);
    const named = heads.filter(head => verbose || head.member === selected).map(({ x, y, member }) => ({
      x, y, text: traces.length > 1 ? traces[member]!.name : `step ${count(Math.floor(t))}`, font: `600 13px ${SANS}`, colour: theme.names[member % 6], leader: false,
    }));
    drawLabels(context, [...labels, ...named.reverse()], outlines(view, traces), width, height, theme);
  }, [relief, traces, marks, t, last, selected, theme, width, height, overlaid]);

  const rest = () => {
    clearTimeout(look.current.rest);
    delete box.current!.dataset.fine;
    look.current.rest = window.setTimeout(() => {
      paint(Math.max(density(), Math.min(2 * density(), Math.sqrt(FINEST_PIXELS / (width * height)))));
      draw();
      box.current!.dataset.fine = '';
    }, REST_MS);
  };
  const moved = () => {
    paint(density() * (look.current.ms > SLOW_MS ? COARSER : 1));
    draw();
    rest();
  };
  const turn = (azimuth: number, elevation: number) => {
    look.current.azimuth += azimuth;
    look.current.elevation = Math.min(HIGHEST, Math.max(LOWEST, look.current.elevation + elevation));
    moved();
  };
  const zoom = (factor: number) => {
    look.current.zoom = Math.min(NEAREST, Math.max(FARTHEST, look.current.zoom * factor));
    moved();
  };

  useEffect(() => {
    if (!width || !height) return;
    if (look.current.surface !== relief) {
      relief.setTheme(theme);
      [look.current.azimuth, look.current.elevation] = openingView(relief, traces, width, height, overlaid);
      look.current.surface = relief;
    }
    relief.setTheme(theme);
    paint(density());
    rest();
    return () => clearTimeout(look.current.rest);
  }, [paint, fonts]);
  useEffect(() => {
    if (width && height) draw();
  }, [draw, fonts]);

  const held = useRef<{ x: number; y: number; moved: number } | null>(null);
  return (
    <div
      class={onStart ? 'stage starts' : 'stage'} ref={box} tabIndex={0} role="img" aria-label={description}
      onPointerDown={e => {
        held.current = { x: e.clientX, y: e.clientY, moved: 0 };
        e.currentTarget.setPointerCapture(e.pointerId);
      }}
      onPointerMove={e => {
        const from = held.current;
        if (!from) return;
        const [dx, dy] = [e.clientX - from.x, e.clientY - from.y];
        held.current = { x: e.clientX, y: e.clientY, moved: from.moved + Math.abs(dx) + Math.abs(dy) };
        if (held.current.moved >= CLICK_PIXELS) turn(-dx * 0.006, dy * 0.005);
      }}
      onPointerCancel={() => (held.current = null)}
      onPointerUp={e => {
        const clicked = held.current && held.current.moved < CLICK_PIXELS;
        held.current = null;
        if (!clicked || !onStart) return;
        const { left, top } = e.currentTarget.getBoundingClientRect();
        const scale = relief.width / width;
        const at = relief.pick(seen(), (e.clientX - left) * scale, (e.clientY - top) * scale);
        if (at) onStart(onAxis(relief.field.x, at[0]), onAxis(relief.field.y, at[1]));
      }}
      onWheel={e => {
        e.preventDefault();
        zoom(Math.exp(-e.deltaY * 0.001));
      }}
      onKeyDown={e => {
        if (e.key in TURNS && !e.shiftKey) turn(...TURNS[e.key]);
        else if (e.key in ZOOMS) zoom(ZOOMS[e.key]);
        else return;
        e.preventDefault();
        e.stopPropagation();
      }}
    >
      <canvas ref={ground} class="fill" />
      <canvas ref={over} class="fill" />
    </div>
  );
}
