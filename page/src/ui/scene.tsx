/// The surface in its two forms, relief and map, with its scale and what is said of it.
import { useMemo } from 'preact/hooks';
import { DIVERGED, gaps, type Field } from '../render/field';
import type { Film, Mark } from '../film/film';
import { MapView } from './map';
import { Digits } from './math';
import { decimal, short } from './numbers';
import { traceOf } from '../render/paths';
import { Relief } from '../render/relief';
import type { Scale } from '../render/scale';
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
  overlaid: boolean;
  mapped: boolean;
  onStart: ((x: number, y: number) => void) | null;
  onSurface(name: string): void;
}

const KINDS = constants.planes;

export function Scene(props: SceneProps) {
  const { film, surface, field, tracks, marks, t, last, selected, theme, overlaid, mapped, onStart } = props;
  const relief = useMemo(() => field && new Relief(field), [field]);
  const traces = useMemo(
    () => (relief && surface ? tracks.map(track => traceOf(track, surface, relief)) : []), [relief, surface, tracks]);
  if (!field || !relief || !surface) {
    if (film.live || film.kind === 'race') return null;
    return <p class="nothing">No surface: run `steepest film RUN` to compute one; it needs a saved path and the model.</p>;
  }
  const description = describe(field, surface, tracks, t);
  const map = <MapView field={field} surface={surface} tracks={tracks} marks={marks} t={t} selected={selected} theme={theme}
    description={`Map. ${description}`} onStart={onStart} />;
  return (
    <>
      {mapped ? <div class="stage large">{map}</div> : (
        <Stage relief={relief} traces={traces} marks={marks} t={t} last={last} selected={selected} theme={theme} overlaid={overlaid}
          description={`Relief. ${description} Arrow keys turn it, plus and minus zoom.`} onStart={onStart} />
      )}
      <figure class="inset">
        {!mapped && map}
        <figcaption>
          {onStart ? `${mapped ? '' : 'From above. '}Click to start elsewhere.` : distance(tracks[selected], surface, t)}
        </figcaption>
      </figure>
      <Legend {...props} field={field} surface={surface} film={film} />
    </>
  );
}

/** The distance of the path from the plane at a step, in words. */
function distance(track: Track, surface: string, t: number): string {
  const on = track.path.on[surface];
  const k = Math.max(0, indexAt(track.path.t, t));
  if (!on?.off.length) return 'From above. This run has no saved path.';
  const most = on.off.reduce((a, b) => Math.max(a, b));
  if (!(most > 0)) return 'From above. The path lies in this plane.';
  return `Distance of the path from this plane: ${short(on.off[k], 2)} here, at most ${short(most, 2)}.`;
}

function describe({ x, y, scale }: Field, surface: string, tracks: Track[], t: number): string {
  const where = tracks.slice(0, 6).map(track => {
    const on = track.path.on[surface];
    const k = Math.max(0, indexAt(track.path.t, t));
    const at = on?.x.length ? ` at ${x.name} ${short(on.x[k], 3)}, ${y.name} ${short(on.y[k], 3)}` : '';
    return `${track.name}${at}, loss ${decimal(lossAt(track, t))}`;
  });
  return `Loss from ${short(scale.loss(0))} to ${short(scale.loss(1))} over ${x.name} and ${y.name}. Step ${Math.floor(t)}: ${where.join('; ')}.`;
}

/** Ticks with enough room after the ones before them. */
function spaced(ticks: Scale['ticks']): Scale['ticks'] {
  const shown: Scale['ticks'] = [];
  for (const tick of ticks) {
    const before = shown.at(-1);
    if (!before || tick.at - before.at > 0.05 + 0.02 * (before.text.length + tick.text.length)) shown.push(tick);
  }
  return shown;
}

/** The colour scale, the surface's caption, and a choice where there are several surfaces. */
function Legend({ film, surface, field, theme, onStart, onSurface }: SceneProps & { field: Field; surface: string }) {
  const names = Object.keys(film.surfaces);
  const { kind } = film.surfaces[surface];
  const caption = onStart ? gaps(field) : film.surfaces[surface].caption; // another function may have been typed in
  return (
    <div class="scale">
      {names.length > 1 && (
        <label class="choice">
          <span class="hidden">Plane</span>
          <select value={surface} onChange={e => onSurface(e.currentTarget.value)}>
            {names.map(name => <option key={name} value={name}>{KINDS[film.surfaces[name].kind]}</option>)}
          </select>
        </label>
      )}
      <p class="caption" title={caption}><Digits text={caption || (kind === 'terrain' || names.length > 1 ? 'loss' : `loss, ${KINDS[kind]}`)} /></p>
      {field.state.includes(DIVERGED) && <span class="diverged"><i />diverged</span>}
      <div class="bar" style={{ background: `linear-gradient(90deg, ${theme.look.ramp.join(', ')})` }} />
      <div class="ticks" aria-hidden="true">
        {spaced(field.scale.ticks).map(({ at, text }) => (
          <span key={text} style={{ left: `${at * 100}%`, transform: `translateX(${-at * 100}%)` }}>{text}</span>
        ))}
      </div>
    </div>
  );
}
