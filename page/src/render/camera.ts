/// An orbit camera over a world with x and y on the floor and z up. One matrix serves relief, paths, labels and picking.
import { constants } from './theme';

export interface Camera {
  /** Radians around the z axis, and above the floor. */
  azimuth: number;
  elevation: number;
  distance: number;
  /** Shift of the world's middle on the canvas, as a share of its half size, right and up. */
  shift: [number, number];
}

const LENS = (constants.camera.lensDegrees / 180) * Math.PI;
const TARGET_HEIGHT = constants.camera.targetHeight;
export const LOWEST = 0.12;
export const HIGHEST = 1.5;

/** Three rows of four: x · w, y · w and w (the distance along the view) of a world point. */
export type Matrix = Float64Array;

/** The camera's matrix for a canvas of this width over height. */
export function matrix(camera: Camera, aspect: number): Matrix {
  const [ca, sa] = [Math.cos(camera.azimuth), Math.sin(camera.azimuth)];
  const [ce, se] = [Math.cos(camera.elevation), Math.sin(camera.elevation)];
  const forward = [-ce * ca, -ce * sa, -se];
  const right = [-sa, ca, 0];
  const up = [-se * ca, -se * sa, ce];
  const eye = forward.map((f, i) => (i === 2 ? TARGET_HEIGHT : 0) - f * camera.distance);
  const focal = 1 / Math.tan(LENS / 2);
  const out = new Float64Array(12);
  const row = (at: number, axis: number[], scale: number, shift: number) => {
    let offset = 0;
    for (let j = 0; j < 3; j++) {
      out[at + j] = scale * axis[j] + shift * forward[j];
      offset -= out[at + j] * eye[j];
    }
    out[at + 3] = offset;
  };
  row(0, right, focal / aspect, camera.shift[0]);
  row(4, up, focal, camera.shift[1]);
  row(8, forward, 1, 0);
  return out;
}

/** Writes canvas x, canvas y and the distance of a world point to out[k], out[k + 1], out[k + 2]. */
export function project(
  m: Matrix, width: number, height: number, x: number, y: number, z: number, out: Float64Array, k = 0,
): void {
  const w = m[8] * x + m[9] * y + m[10] * z + m[11];
  out[k] = (((m[0] * x + m[1] * y + m[2] * z + m[3]) / w) * 0.5 + 0.5) * width;
  out[k + 1] = (0.5 - ((m[4] * x + m[5] * y + m[6] * z + m[7]) / w) * 0.5) * height;
  out[k + 2] = w;
}

/** The world point at a canvas point and this distance: the inverse of `project`. */
export function unproject(
  m: Matrix, width: number, height: number, px: number, py: number, w: number,
): [number, number, number] {
  const b = [((px / width) * 2 - 1) * w - m[3], (1 - (py / height) * 2) * w - m[7], w - m[11]];
  const det = (c: number[][]) =>
    c[0][0] * (c[1][1] * c[2][2] - c[1][2] * c[2][1]) -
    c[0][1] * (c[1][0] * c[2][2] - c[1][2] * c[2][0]) +
    c[0][2] * (c[1][0] * c[2][1] - c[1][1] * c[2][0]);
  const rows = [0, 4, 8].map(at => [m[at], m[at + 1], m[at + 2]]);
  const whole = det(rows);
  const solve = (column: number) => det(rows.map((r, i) => r.map((v, j) => (j === column ? b[i] : v)))) / whole;
  return [solve(0), solve(1), solve(2)];
}
