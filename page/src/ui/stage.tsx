/// The relief with the paths on it: turned by dragging, zoomed by the wheel, and by the keyboard.
import { useCallback, useEffect, useMemo, useRef } from 'preact/hooks';
import type { Box } from '../render/boxes';
import { HIGHEST, LOWEST, matrix, type Matrix } from '../render/camera';
import { cleared, density, useFonts, useSize } from '../render/canvas';
import { onAxis } from '../render/field';
import { framed, outlineOf } from '../render/frame';
import type { Mark } from '../film/film';
import { useGestures } from './gestures';
import { drawLabels, placeLabels, placesOf, PLACES, SANS, type Label } from '../render/labels';
import { count } from './numbers';
import { drawPaths, outlines, positionAt, type Trace, type View } from '../render/paths';
import type { Relief } from '../render/relief';
import { axisLabels, drawEdges, drawEscape, drawMarks, drawStart, undoneLabels } from '../render/scenery';
import type { Theme } from '../render/theme';
import { openingView } from '../render/view';

export interface StageProps {
  relief: Relief;
  traces: (Trace | null)[];
  marks: Mark[];
  t: number;
  last: number;
  selected: number;
  theme: Theme;
  /** What lies over it, in its own pixels. */
  overlays: Box[];
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
const NEAREST = 4;
const FARTHEST = 0.6;
const TURNS: Record<string, [number, number]> = {
  ArrowLeft: [-0.08, 0], ArrowRight: [0.08, 0], ArrowUp: [0, 0.06], ArrowDown: [0, -0.06],
};
const ZOOMS: Record<string, number> = { '+': 1.1, '=': 1.1, '-': 1 / 1.1 };

/** Whether a step follows shortly after another, before the end. */
const isPlaying = (before: number, t: number, last: number) => t < last && t > before && t - before < last / 20;

/** Whether the page scrolls: then the wheel is the page's. */
const scrolls = () => document.documentElement.scrollHeight > innerHeight + 1;

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
  const { relief, traces, marks, t, last, selected, theme, overlays, description, onStart } = props;
  const [box, width, height] = useSize();
  const fonts = useFonts();
  const ground = useRef<HTMLCanvasElement>(null);
  const over = useRef<HTMLCanvasElement>(null);
  const look = useRef({
    azimuth: 0, elevation: 0, zoom: 1, ms: 0, rest: 0, settled: false, surface: null as Relief | null,
    matrix: new Float64Array(12) as Matrix, axes: [] as Label[], ways: [] as number[], waysOf: null as typeof traces | null,
    drawn: NaN, placesBefore: undefined as Map<string, number> | undefined,
  });
  const edges = useMemo(() => relief.edges(), [relief]);
  const outline = useMemo(() => outlineOf(relief.field), [relief]);
  const room = useMemo(() => ({ width, height, overlays }), [width, height, overlays]);

  const seen = () => {
    const { azimuth, elevation, zoom } = look.current;
    const camera = framed(outline, azimuth, elevation, room);
    return matrix({ ...camera, distance: camera.distance / zoom }, width / height);
  };

  const paint = useCallback((scale: number) => {
    const began = performance.now();
    relief.resize(Math.round(width * scale), Math.round(height * scale));
    const { azimuth } = look.current;
    const m = (look.current.matrix = seen());
    relief.render(m, azimuth);
    const shown = Math.min(scale, density());
    const context = show(relief.image, ground.current!, shown * width, shown * height);
    context.setTransform(shown, 0, 0, shown, 0, 0);
    const view: View = { context, relief, matrix: m, width, height, theme };
    drawEdges(view, edges);
    look.current.axes = axisLabels(view, relief.field.x, relief.field.y, azimuth);
    look.current.waysOf = null;
    look.current.ms = performance.now() - began;
  }, [relief, edges, outline, theme, room]);

  const draw = useCallback(() => {
    const context = cleared(over.current!, width, height);
    const view: View = { context, relief, matrix: look.current.matrix, width, height, theme };
    const { x, y } = relief.field;
    const words = drawMarks(view, marks, x, y);
    const end = traces[selected] && positionAt(traces[selected], last);
    if (end && t >= last) words.push(...drawEscape(view, marks, x, y, end));
    const first = traces.find(trace => trace !== null);
    const start = first ? drawStart(view, first) : [];
    if (traces[selected]) start.push(...undoneLabels(view, traces[selected], t));
    const heads = drawPaths(view, traces, t, selected).reverse().map(({ x, y, member }): Label => ({
      x, y, text: traces.length > 1 ? traces[member]!.name : `step ${count(Math.floor(t))}`, font: `600 13px ${SANS}`,
      colour: theme.names[member % 6], places: PLACES, kind: 'thing', id: `head ${member}`,
    }));
    if (look.current.waysOf !== traces) [look.current.ways, look.current.waysOf] = [outlines(view, traces), traces];
    const placed = placeLabels(
      context, [...heads, ...start, ...words, ...look.current.axes], look.current.ways, room,
      isPlaying(look.current.drawn, t, last) ? look.current.placesBefore : undefined);
    [look.current.drawn, look.current.placesBefore] = [t, placesOf(placed)];
    drawLabels(context, placed, theme);
    Object.assign(box.current!, { textBoxes: placed, overlayBoxes: overlays });
  }, [relief, traces, marks, t, last, selected, theme, room]);

  const rest = () => {
    clearTimeout(look.current.rest);
    delete box.current!.dataset.fine;
    look.current.rest = window.setTimeout(() => {
      paint(Math.max(density(), Math.min(2 * density(), Math.sqrt(FINEST_PIXELS / (width * height)))));
      draw();
      look.current.settled = document.fonts.status === 'loaded';
      box.current!.dataset.fine = '';
    }, REST_MS);
  };
  const moved = () => {
    paint(density() * (look.current.ms > SLOW_MS ? COARSER : 1));
    draw();
    rest();
  };
  const turn = (azimuth: number, elevation: number) => {
    look.current.settled = true;
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
    if (look.current.surface !== relief) look.current.settled = false;
    if (!look.current.settled) {
      relief.setTheme(theme);
      [look.current.azimuth, look.current.elevation] = openingView(relief, outline, traces, room);
      look.current.surface = relief;
    }
    relief.setTheme(theme);
    paint(density());
    rest();
    return () => clearTimeout(look.current.rest);
  }, [paint, fonts]);
  useEffect(() => {
    if (width && height) draw();
  }, [draw, paint, fonts]);

  const gestures = useGestures({
    turn, zoom,
    click: (x, y) => {
      const scale = relief.width / width;
      const at = relief.pick(look.current.matrix, x * scale, y * scale);
      if (at) onStart?.(onAxis(relief.field.x, at[0]), onAxis(relief.field.y, at[1]));
    },
  });
  return (
    <div
      class={onStart ? 'stage starts' : 'stage'} ref={box} tabIndex={0} role="img" aria-label={description} {...gestures}
      onWheel={e => {
        if (!e.ctrlKey && scrolls()) return;
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
