/// The opening view of a relief: the one that hides as little of the paths as possible.
import type { Room } from './boxes';
import { matrix, project, type Matrix } from './camera';
import { coarse } from './field';
import { framed, roughly } from './frame';
import { LIFT, SLACK, type Trace } from './paths';
import { Relief } from './relief';
import { constants } from './theme';

/** Candidate views are compared on a coarse grid in small pictures, the finalists on the whole grid in larger ones. */
const view = constants.view;

interface Candidate {
  azimuth: number;
  elevation: number;
  cost: number;
}

/** Of 16 azimuths and 3 elevations, the one that hides least of the paths: all on a coarse grid, the best ones on the whole. */
export function openingView(relief: Relief, outline: Float64Array, traces: (Trace | null)[], room: Room): [number, number] {
  const { width, height } = room;
  const points = traces.flatMap(trace => (trace ? thinned(trace) : []));
  const all = view.elevations.flatMap(elevation => Array.from({ length: view.azimuths }, (_, a): Candidate => {
    const azimuth = ((a + 0.5) / view.azimuths) * 2 * Math.PI;
    const turned = Math.abs(Math.atan2(Math.sin(azimuth - view.mapAzimuth), Math.cos(azimuth - view.mapAzimuth))) / Math.PI;
    return { azimuth, elevation, cost: view.asOnMap * turned + view.alongAxis * Math.cos(2 * azimuth) ** 2 };
  }));
  const stride = Math.max(1, Math.floor(relief.field.x.n / view.coarseVertices));
  const look = (azimuth: number, elevation: number) => matrix(framed(outline, azimuth, elevation, room, roughly), width / height);
  const picture = (of: Relief, across: number) => {
    of.resize(across, Math.round((across * height) / width));
    return of;
  };
  const first = ranked(picture(new Relief(coarse(relief.field, stride)), view.smallWidth), all, points, look);
  const few = first.slice(0, view.finalists).map(one => all.find(c => c.azimuth === one.azimuth && c.elevation === one.elevation)!);
  const [best] = ranked(picture(relief, view.largeWidth), few, points, look);
  return [best.azimuth, best.elevation];
}

/** Candidates with what they hide on a relief added to their cost, the cheapest first. */
function ranked(
  relief: Relief, candidates: Candidate[], points: [number, number][],
  look: (azimuth: number, elevation: number) => Matrix,
): Candidate[] {
  const scored = candidates.map(({ azimuth, elevation, cost }) => {
    const m = look(azimuth, elevation);
    relief.render(m, azimuth);
    return { azimuth, elevation, cost: cost + hiding(relief, m, points) };
  });
  return scored.sort((a, b) => a.cost - b.cost);
}

function thinned({ at }: Trace): [number, number][] {
  const n = at.length / 3;
  const stride = Math.max(1, Math.floor(n / view.points));
  const points: [number, number][] = [];
  for (let k = 0; k < n; k += stride) if (!Number.isNaN(at[3 * k])) points.push([at[3 * k], at[3 * k + 1]]);
  return points;
}

/** Share of points that are hidden, less how far they spread over the picture. */
function hiding(relief: Relief, m: Matrix, points: [number, number][]): number {
  if (!points.length) return 0;
  const { width, height } = relief;
  const p = new Float64Array(3);
  let hidden = 0;
  let [left, right, top, bottom] = [Infinity, -Infinity, Infinity, -Infinity];
  for (const [x, y] of points) {
    project(m, width, height, x, y, relief.heightAt(x, y) + LIFT, p);
    if (!relief.isVisible(p[0], p[1], p[2], SLACK)) hidden++;
    [left, right, top, bottom] = [Math.min(left, p[0]), Math.max(right, p[0]), Math.min(top, p[1]), Math.max(bottom, p[1])];
  }
  const spread = Math.hypot((right - left) / width, (bottom - top) / height);
  return hidden / points.length - view.spread * Math.min(1, spread);
}
