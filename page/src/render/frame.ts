/// The frame of a relief: the nearest camera that keeps the block and its ticks clear of what lies over the stage.
import type { Box, Room } from './boxes';
import { matrix, project, type Camera } from './camera';
import { MISSING, type Field } from './field';
import { BASE } from './relief';
import { constants } from './theme';

/** `near`, `far`: distances between which the camera is sought by `halvings`; `places`: shifts tried along x and y. */
const { near, far, halvings, places, margin, tick, cells } = constants.frame;
export const { roughly } = constants.frame;

type Point = [x: number, y: number];

/** Points of a block whose hull holds it: the highest vertex of each of a few cells, the corners, and the base. */
export function outlineOf(field: Field): Float64Array {
  const { x, y, height, state, scale } = field;
  const points: number[] = [];
  const add = (k: number) => points.push((2 * (k % x.n)) / (x.n - 1) - 1, (2 * Math.floor(k / x.n)) / (y.n - 1) - 1, height[k] * scale.block);
  const edges = (n: number) => Array.from({ length: cells + 1 }, (_, i) => Math.floor((i * n) / cells));
  const [columns, rows] = [edges(x.n), edges(y.n)];
  for (let b = 0; b < cells; b++) {
    for (let a = 0; a < cells; a++) {
      let highest = -1;
      for (let j = rows[b]; j < rows[b + 1]; j++) {
        for (let k = j * x.n + columns[a]; k < j * x.n + columns[a + 1]; k++) {
          if (state[k] !== MISSING && (highest < 0 || height[k] > height[highest])) highest = k;
        }
      }
      if (highest >= 0) add(highest);
    }
  }
  for (const [u, v] of CORNERS) {
    const k = (v > 0 ? y.n - 1 : 0) * x.n + (u > 0 ? x.n - 1 : 0);
    if (state[k] !== MISSING) add(k);
    points.push(u, v, BASE);
  }
  return Float64Array.from(points);
}

const CORNERS: Point[] = [[-1, -1], [1, -1], [1, 1], [-1, 1]];

/** Shifts as (i, j) of a lattice, those near its middle first. */
const LATTICE = Array.from({ length: (places + 1) ** 2 }, (_, k): Point => [k % (places + 1), Math.floor(k / (places + 1))])
  .sort((a, b) => offMiddle(a) - offMiddle(b));

function offMiddle([i, j]: Point): number {
  return (i - places / 2) ** 2 + (j - places / 2) ** 2;
}

/** The nearest camera at these angles from which the block fits into a room, in the middle of where it does. */
export function framed(outline: Float64Array, azimuth: number, elevation: number, room: Room, times = halvings): Camera {
  let [a, b] = [near, far];
  let best: Camera = { azimuth, elevation, distance: far, shift: [0, 0] };
  for (let i = 0; i < times; i++) {
    const distance = Math.sqrt(a * b);
    const camera: Camera = { azimuth, elevation, distance, shift: [0, 0] };
    const moved = placed(hull(silhouette(outline, camera, room)), room);
    if (moved) {
      best = { ...camera, shift: [(2 * moved[0]) / room.width, (-2 * moved[1]) / room.height] };
      b = distance;
    } else a = distance;
  }
  return best;
}

/** Where the block's points and its ticks' labels are on the canvas. */
function silhouette(outline: Float64Array, camera: Camera, { width, height }: Room): Point[] {
  const m = matrix(camera, width / height);
  const p = new Float64Array(3);
  const points: Point[] = [];
  for (let k = 0; k < outline.length; k += 3) {
    project(m, width, height, outline[k], outline[k + 1], outline[k + 2], p);
    points.push([p[0], p[1]]);
  }
  const [sx, sy] = [Math.cos(camera.azimuth) > 0 ? 1 : -1, Math.sin(camera.azimuth) > 0 ? 1 : -1];
  for (const at of [-1, 0, 1]) {
    for (const [u, v] of [[at, sy * (1 + tick.out)], [sx * (1 + tick.out), at]]) {
      project(m, width, height, u, v, BASE, p);
      for (const [x, y] of CORNERS) points.push([p[0] + x * tick.across, p[1] + y * tick.down]);
    }
  }
  return points;
}

/** The convex hull, around it (Andrew 1979, doi:10.1016/0020-0190(79)90072-3). */
function hull(points: Point[]): Point[] {
  const sorted = [...points].sort((a, b) => a[0] - b[0] || a[1] - b[1]);
  const half = (all: Point[]) => {
    const chain: Point[] = [];
    for (const p of all) {
      while (chain.length > 1 && cross(chain[chain.length - 2], chain[chain.length - 1], p) <= 0) chain.pop();
      chain.push(p);
    }
    return chain.slice(0, -1);
  };
  return [...half(sorted), ...half(sorted.reverse())];
}

const cross = (o: Point, a: Point, b: Point) => (a[0] - o[0]) * (b[1] - o[1]) - (a[1] - o[1]) * (b[0] - o[0]);

/** The shift, as near to the room's middle as can be, that frees a hull from all overlays; null where none does. */
function placed(shape: Point[], { width, height, overlays }: Room): Point | null {
  const [xs, ys] = [shape.map(p => p[0]), shape.map(p => p[1])];
  const bounds = { left: Math.min(...xs), right: Math.max(...xs), top: Math.min(...ys), bottom: Math.max(...ys) };
  const [x0, x1] = [margin - bounds.left, width - margin - bounds.right];
  const [y0, y1] = [margin - bounds.top, height - margin - bounds.bottom];
  if (x1 < x0 || y1 < y0) return null;
  const walls = overlays.map(box => separations(shape, bounds, box));
  for (const [i, j] of LATTICE) {
    const [dx, dy] = [x0 + ((x1 - x0) * i) / places, y0 + ((y1 - y0) * j) / places];
    if (walls.every(wall => wall.some(([nx, ny, most]) => nx * dx + ny * dy <= most))) return [dx, dy];
  }
  return null;
}

/** Half planes of shifts, any of which keeps a hull clear of a box: along its sides and the hull's edges. */
function separations(shape: Point[], bounds: Box, box: Box): [number, number, number][] {
  const out: [number, number, number][] = [
    [1, 0, box.left - bounds.right], [-1, 0, bounds.left - box.right], [0, 1, box.top - bounds.bottom], [0, -1, bounds.top - box.bottom],
  ];
  for (let i = 0; i < shape.length; i++) {
    const [a, b] = [shape[i], shape[(i + 1) % shape.length]];
    const [nx, ny] = [b[1] - a[1], a[0] - b[0]]; // outwards, since the hull runs with the clock on a canvas
    const nearest = Math.min(nx * box.left, nx * box.right) + Math.min(ny * box.top, ny * box.bottom);
    out.push([nx, ny, nearest - (nx * a[0] + ny * a[1])]);
  }
  return out;
}
