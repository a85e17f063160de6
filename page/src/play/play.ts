/// The state of a play film: settings, and what follows from them.
import { useEffect, useMemo, useState } from 'preact/hooks';
import type { Film, Mark } from '../film/film';
import { count, decimal, short } from '../ui/numbers';
import { schedule } from './schedule';
import { eigenvalues, limit, reach, secondAt, zones, type Zones } from './stability';
import { groundOf, setupOf, startOn, take, type Ground, type Setup, type Take } from './take';

export interface Play {
  /** Of the page: it is about the function that is shown. */
  title: string;
  setup: Setup;
  ground: Ground;
  shown: Take;
  /** Zones of the learning rate; null until they are computed. */
  zones: Zones | null;
  /** The smallest and largest learning rate on the slider. */
  reach: [number, number];
  /** The largest stable learning rate of the selected member at the lowest minimum; null where it is unknown. */
  limit: number | null;
  /** Curvature and stability at the selected member's position at a step, in words. */
  here(t: number): string;
  advice: string;
  setSource(text: string): void;
  setStart(x: number, y: number): void;
  setNoise(noise: number): void;
  setHyper(name: string, value: number): void;
  setSchedule(text: string): void;
}

/** Pause after the last change before learning rates are tried. */
const SETTLE_MS = 120;
/** Rules whose stability at a minimum does not depend on their path. */
const PLAIN = ['gradient_descent', 'momentum', 'nesterov'];

/** The play of a film on one of its surfaces. */
export function usePlay(film: Film, surface: string, selected: number): Play {
  const [setup, set] = useState(() => setupOf(film, surface));
  const ground = useMemo(() => groundOf(film.surfaces[surface], setup.source), [film, surface, setup.source]);
  const shown = useMemo(() => take(film, surface, setup, ground), [film, surface, setup, ground]);
  const id = Object.keys(film.members)[selected];
  const { rule } = film.members[id];
  const racer = shown.racers[selected];
  const others = JSON.stringify({ ...setup.members[id], hyper: { ...setup.members[id].hyper, lr: 0 } });
  const middle = Number(film.members[id].hyper.lr ?? racer.program.hypers.lr);
  const [tried, setTried] = useState<Zones | null>(null);
  useEffect(() => {
    const timer = setTimeout(() => setTried(zones(racer, shown.course, middle, ground.least)), SETTLE_MS);
    return () => clearTimeout(timer);
  }, [film, id, others, setup.source, setup.start, setup.noise]);
  const bottom = leastMinimum(ground.marks);
  const change = (member: Partial<Setup['members'][string]>) =>
    set(old => ({ ...old, members: { ...old.members, [id]: { ...old.members[id], ...member } } }));
  return {
    title: setup.source === film.surfaces[surface].source ? film.title : 'Your function',
    setup, ground, shown, zones: tried, reach: reach(middle),
    limit: bottom && PLAIN.includes(rule) ? limit(rule, racer.hyper, ground.terrain.jet(bottom.x, bottom.y), null) : null,
    here: t => here(shown, ground, selected, rule, t),
    advice: bottom ? atMinimum(ground, bottom) : '',
    setSource: text => {
      const next = groundOf(film.surfaces[surface], text); // says what is wrong before anything changes
      set(old => ({ ...old, source: text, start: startOn(next, old.start) }));
    },
    setStart: (x, y) => set(old => ({ ...old, start: [x, y] })),
    setNoise: noise => set(old => ({ ...old, noise })),
    setHyper: (name, value) => change({ hyper: { ...setup.members[id].hyper, [name]: value } }),
    setSchedule: text => {
      schedule(text, film.steps, 1);
      change({ schedule: text });
    },
  };
}

function leastMinimum(marks: Mark[]): Mark | null {
  return marks.filter(mark => mark.kind === 'minimum').reduce<Mark | null>((a, b) => (a && a.loss <= b.loss ? a : b), null);
}

function atMinimum(ground: Ground, bottom: Mark): string {
  const { xx, xy, yy } = ground.terrain.jet(bottom.x, bottom.y);
  const [least, greatest] = eigenvalues(xx, xy, yy);
  if (!(least > 0)) return '';
  const condition = greatest / least;
  const shape = condition > 20 ? 'narrow valley' : condition > 3 ? 'elongated' : 'round';
  return `Curvature at the minimum: ${short(greatest, 3)} and ${decimal(least, 2)} (${shape}, condition number ${count(condition)}). ` +
    `Plain gradient descent diverges there for lr above ${decimal(2 / greatest, 2)}.`;
}

function here({ descents, racers }: Take, ground: Ground, member: number, rule: string, t: number): string {
  const descent = descents[member];
  const hyper = { ...racers[member].program.hypers, ...racers[member].hyper };
  const k = Math.min(Math.floor(t), descent.n);
  const at = ground.terrain.jet(descent.x[k], descent.y[k]);
  const [least, greatest] = eigenvalues(at.xx, at.xy, at.yy);
  if (!Number.isFinite(greatest)) return 'No curvature here.';
  const curvature = `Curvature here ${short(greatest, 3)} and ${short(least, 2)}`;
  const most = limit(rule, hyper, at, secondAt(descent, k, Number(hyper.beta2)));
  if (most === null) return `${curvature}.`;
  if (most === Infinity) return `${curvature}. No lr is stable here.`;
  const other = least < 0 ? '; the other direction is unstable' : '';
  return `${curvature}. ${descent.rate[k] < most ? 'Stable: lr is below' : 'Unstable: lr is above'} ${decimal(most, 2)}${other}.`;
}
