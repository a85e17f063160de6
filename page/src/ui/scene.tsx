/// The surface in its two forms, relief and map, with its scale and what is said of it.
import type { RefObject } from 'preact';
import { useLayoutEffect, useMemo, useRef, useState } from 'preact/hooks';
import type { Box } from '../render/boxes';
import { useFonts } from '../render/canvas';
import { DIVERGED, gaps, type Field } from '../render/field';
import type { Film, Mark } from '../film/film';
import { MapView } from './map';
import { Digits } from './math';
import { decimal, short } from './numbers';
import { traceOf } from '../render/paths';
import { Relief } from '../render/relief';
import { Stage } from './stage';
import { constants, type Theme } from '../render/theme';
import { indexAt, lossAt, type Track } from '../film/track';

export interface SceneProps {
  film: Film;
  surface: string | null;
  field: Field | null;
  tracks: Track[];
  marks: Mark[];
  t: number;
  last: number;
  selected: number;
  theme: Theme;
  mapped: boolean;
  onStart: ((x: number, y: number) => void) | null;
  onSurface(name: string): void;
}

const KINDS = constants.planes;

export function Scene(props: SceneProps) {
  const { film, surface, field, tracks, marks, t, last, selected, theme, mapped, onStart } = props;
  const relief = useMemo(() => field && new Relief(field), [field]);
  const traces = useMemo(
    () => (relief && surface ? tracks.map(track => traceOf(track, surface, relief)) : []), [relief, surface, tracks]);
  const scene = useRef<HTMLDivElement>(null);
  const overlays = useOverlays(scene, relief !== null, mapped);
  if (!field || !relief || !surface) {
    if (film.live || film.kind === 'race') return null;
    const words = 'No surface: run `steepest film RUN` to compute one; it needs a saved path and the model.';
    return <p class="nothing">{film.no_surface ?? words}</p>;
  }
  const description = describe(field, surface, tracks, t);
  const map = <MapView field={field} surface={surface} tracks={tracks} marks={marks} t={t} selected={selected} theme={theme}
    description={`Map. ${description}`} onStart={onStart} />;
  return (
    <>
      <div class="scene" ref={scene}>
        {mapped ? <div class="stage large">{map}</div> : (
          <Stage relief={relief} traces={traces} marks={marks} t={t} last={last} selected={selected} theme={theme} overlays={overlays}
            description={`Relief. ${description} Arrow keys turn it, plus and minus zoom.`} onStart={onStart} />
        )}
        {!mapped && <div class="inset">{map}</div>}
      </div>
      <Legend {...props} field={field} surface={surface} film={film} />
    </>
  );
}

/** What lies over a scene: the lines of what is said above it, and the map; null before the fonts are there, which move it. */
function useOverlays(scene: RefObject<HTMLDivElement | null>, shown: boolean, mapped: boolean): Box[] | null {
  const [overlays, take] = useState<Box[] | null>(null);
  const fonts = useFonts();
  useLayoutEffect(() => {
    const { current } = scene;
    if (!current || !fonts) return;
    const over = [...current.parentElement!.querySelectorAll('.saying')];
    const measure = () => {
      const { left, top, right, bottom } = current.getBoundingClientRect();
      const boxes = [...over.flatMap(element => [...element.querySelectorAll('h1, p')].map(inked)), ...[...current.querySelectorAll('.inset')].map(e => e.getBoundingClientRect())]
        .filter(box => box.width > 0 && box.left < right && box.right > left && box.top < bottom && box.bottom > top)
        .map(box => ({
          left: Math.floor(box.left - left - GAP), top: Math.floor(box.top - top - GAP),
          right: Math.ceil(box.right - left + GAP), bottom: Math.ceil(box.bottom - top + GAP),
        }));
      take(old => (JSON.stringify(old) === JSON.stringify(boxes) ? old : boxes));
    };
    measure();
    const sizes = new ResizeObserver(measure);
    [current, ...over, ...current.querySelectorAll('.inset')].forEach(element => sizes.observe(element));
    const words = new MutationObserver(measure);
    over.forEach(element => words.observe(element, { childList: true, characterData: true, subtree: true }));
    return () => {
      sizes.disconnect();
      words.disconnect();
    };
  }, [fonts, shown, mapped]);
  return overlays;
}

/** Between the block and what lies over the stage. */
const GAP = 6;

/** Where an element has text: it may be narrower than its box. */
function inked(element: Element): DOMRect {
  const range = document.createRange();
  range.selectNodeContents(element);
  return range.getBoundingClientRect();
}

/** The distance of the path from the plane at a step, in words. */
export function distance(track: Track, surface: string, t: number): string {
  const on = track.path.on[surface];
  const k = Math.max(0, indexAt(track.path.t, t));
  if (!on?.off.length) return 'This run has no saved path.';
  const most = on.off.reduce((a, b) => Math.max(a, b));
  if (!(most > 0)) return 'The path lies in this plane.';
  return `Distance of the path from it: ${short(on.off[k], 2)} at this step, at most ${short(most, 2)}.`;
}

function describe({ x, y, scale }: Field, surface: string, tracks: Track[], t: number): string {
  const where = tracks.slice(0, 6).map(track => {
    const on = track.path.on[surface];
    const k = Math.max(0, indexAt(track.path.t, t));
    const at = on?.x.length ? ` at ${x.name} ${short(on.x[k], 3)}, ${y.name} ${short(on.y[k], 3)}` : '';
    return `${track.name}${at}, loss ${decimal(lossAt(track, t))}`;
  });
  return `Loss from ${short(scale.ends[0])} to ${short(scale.ends[1])} over ${x.name} and ${y.name}. Step ${Math.floor(t)}: ${where.join('; ')}.`;
}

/** The row under the relief: a choice where there are several surfaces, one line of words, and the loss's colours. */
function Legend({ film, surface, field, theme, onStart, onSurface }: SceneProps & { field: Field; surface: string }) {
  const names = Object.keys(film.surfaces);
  const { kind, caption } = film.surfaces[surface];
  const words = onStart ? `Click on the surface to start elsewhere. ${gaps(field)}` : oneLine(caption);
  return (
    <div class="legend">
      {names.length > 1 ? (
        <label class="choice">
          <span class="hidden">Plane</span>
          <select value={surface} onChange={e => onSurface(e.currentTarget.value)}>
            {names.map(name => <option key={name} value={name}>{KINDS[film.surfaces[name].kind]}</option>)}
          </select>
        </label>
      ) : kind !== 'terrain' && <span class="choice">{KINDS[kind]}</span>}
      <p class="about"><Digits text={words.trim()} /></p>
      {field.state.includes(DIVERGED) && <span class="diverged"><i />diverged</span>}
      <LossScale field={field} theme={theme} />
    </div>
  );
}

/** What a caption says first, without the plane's name, which stands beside it; the help has the whole. */
function oneLine(caption: string): string {
  const [first] = caption.split(/(?<=[.!?]) (?=[A-Z])/);
  return first.replace(/^Principal plane of the paths?: (.*) of the variance\.$/, 'Its axes hold $1 of the path’s variance.');
}

/** Below this share of the range a loss is 0. */
const ROUNDING = 1e-9;
/** Letters that fit beside one another under the colours. */
const LETTERS = 20;

/** The colours from the smallest loss to the largest, with three numbers; where they lack room, without the middle one. */
function LossScale({ field, theme }: { field: Field; theme: Theme }) {
  const [lo, hi] = field.scale.ends;
  const least = Math.abs(lo) < ROUNDING * (hi - lo) ? 0 : lo;
  const texts = (lo === hi ? [lo] : [least, field.scale.loss(0.5), hi]).map(v => short(v, 2));
  const shown = texts.join('').length > LETTERS ? [texts[0], texts.at(-1)!] : texts;
  return (
    <div class="scale">
      <span class="what">loss</span>
      <div class="bar" style={{ background: `linear-gradient(90deg, ${theme.look.ramp.join(', ')})` }} />
      <div class="ticks" aria-hidden="true">{shown.map((text, i) => <span key={i}><Digits text={text} /></span>)}</div>
    </div>
  );
}
