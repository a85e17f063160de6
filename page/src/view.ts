/// How a relief is looked at: framing, and the opening view that hides least of the paths.
import { matrix, project, type Camera } from './camera';
import { coarse } from './field';
import type { Trace } from './paths';
import { Relief } from './relief';

const NARROW = 500;
const LOW = 660;
const WIDE = 1.3;
/** At which the block fills a canvas that is wide enough. */
const DISTANCE = 13;
const AZIMUTHS = 16;
const ELEVATIONS = [0.5, 0.75, 1.02];
/** Size of the small picture in which hidden points are counted. */
const SMALL = { width: 150, height: 110 };
const POINTS = 120;
/** What is hidden weighs most; then that paths spread on the screen, and that axes run as on a map. */
const SPREAD = 0.25;
const COVERED = 0.5;
const AS_ON_A_MAP = 0.06;
const MAP_AZIMUTH = -1.2;
/** A block that is seen along an axis looks flat. */
const ALONG_AN_AXIS = 0.12;

/** The camera that frames the block on a canvas; where the verdict overlays it, a little lower and to the right. */
export function framed(azimuth: number, elevation: number, zoom: number, width: number, height: number, overlaid: boolean): Camera {
  const aspect = width / height;
  const low = overlaid ? 1 + Math.max(0, LOW - height) / LOW : 1; // there the verdict takes a larger share
  const distance = (DISTANCE * low * Math.max(1, WIDE / aspect)) / zoom;
  return { azimuth, elevation, distance, shift: overlaid ? [0.15, -0.1] : width < NARROW ? [0, -0.02] : [0.12, 0.05] };
}

/** Of 16 azimuths and 3 elevations, the one that hides least of the paths. */
export function openingView(relief: Relief, traces: (Trace | null)[], aspect: number, overlaid: boolean): [number, number] {
  const field = coarse(relief.field, Math.max(1, Math.floor(relief.field.x.n / 30)));
  const small = new Relief(field);
  small.resize(SMALL.width, SMALL.height);
  const points = traces.flatMap(trace => (trace ? thinned(trace) : []));
  let best: [number, number] = [MAP_AZIMUTH, ELEVATIONS[1]];
  let least = Infinity;
  for (const elevation of ELEVATIONS) {
    for (let a = 0; a < AZIMUTHS; a++) {
      const azimuth = ((a + 0.5) / AZIMUTHS) * 2 * Math.PI;
      const m = matrix(framed(azimuth, elevation, 1, SMALL.height * aspect, SMALL.height, overlaid), aspect);
      small.render(m, azimuth);
      const turned = Math.abs(Math.atan2(Math.sin(azimuth - MAP_AZIMUTH), Math.cos(azimuth - MAP_AZIMUTH))) / Math.PI;
      const cost = hiding(small, m, points, overlaid) + AS_ON_A_MAP * turned + ALONG_AN_AXIS * Math.cos(2 * azimuth) ** 2;
      if (cost < least - 1e-9) [least, best] = [cost, [azimuth, elevation]];
    }
  }
  return best;
}

function thinned({ at }: Trace): [number, number, number][] {
  const n = at.length / 3;
  const stride = Math.max(1, Math.floor(n / POINTS));
  const points: [number, number, number][] = [];
  for (let k = 0; k < n; k += stride) if (!Number.isNaN(at[3 * k])) points.push([at[3 * k], at[3 * k + 1], at[3 * k + 2]]);
  return points;
}

/** Share of points that are hidden or lie under the verdict, less how far they spread over the picture. */
function hiding(relief: Relief, m: Float64Array, points: [number, number, number][], overlaid: boolean): number {
  if (!points.length) return 0;
  const p = new Float64Array(3);
  let hidden = 0;
  let [left, right, top, bottom] = [Infinity, -Infinity, Infinity, -Infinity];
  for (const point of points) {
    project(m, SMALL.width, SMALL.height, ...point, p);
    if (!relief.isVisible(p[0], p[1], p[2], 0.012)) hidden++;
    else if (overlaid && p[0] < 0.5 * SMALL.width && p[1] < 0.27 * SMALL.height) hidden += COVERED;
    [left, right, top, bottom] = [Math.min(left, p[0]), Math.max(right, p[0]), Math.min(top, p[1]), Math.max(bottom, p[1])];
  }
  const spread = Math.hypot((right - left) / SMALL.width, (bottom - top) / SMALL.height);
  return hidden / points.length - SPREAD * Math.min(1, spread);
}
