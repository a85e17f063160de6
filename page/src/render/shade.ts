/// Colour and light: the ramp from low to high, and the light of sun and sky at each vertex.
import type { Field } from './field';
import { constants, type Look } from './theme';

/** Red, green and blue, 0 … 1. */
export type Rgb = [number, number, number];

export const fromHex = (hex: string): Rgb => [1, 3, 5].map(i => parseInt(hex.slice(i, i + 2), 16) / 255) as Rgb;
const toLinear = (c: number) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
const fromLinear = (c: number) => (c <= 0.0031308 ? c * 12.92 : 1.055 * c ** (1 / 2.4) - 0.055);

/** A pixel of ImageData on a little-endian machine. */
export const pixel = ([r, g, b]: Rgb): number =>
  (0xff000000 | ((b * 255) << 16) | ((g * 255) << 8) | (r * 255)) >>> 0;

/** The ramp's colour at a height, mixed in linear light. */
export function ramp(look: Look, height: number): Rgb {
  const last = look.ramp.length - 1;
  const at = Math.min(last - 1e-9, Math.max(0, height * last));
  const i = Math.floor(at);
  const [a, b] = [fromHex(look.ramp[i]), fromHex(look.ramp[i + 1])];
  return a.map((v, k) => fromLinear(toLinear(v) * (1 - at + i) + toLinear(b[k]) * (at - i))) as Rgb;
}

/** What diverged: the ramp's top, tinged with the colour of errors. */
export function divergedColour(look: Look, bad: string): Rgb {
  const [top, tinge] = [ramp(look, 1), fromHex(bad)];
  return top.map((c, i) => c * 0.6 + tinge[i] * 0.4) as Rgb;
}

/** Brightnesses in a row of the table. */
export const TONES = 64;
/** Heights in the table; one row more is for what diverged. */
export const SHADES = 256;

/** Pixels by height and brightness, [SHADES + 1, TONES]. */
export function shadeTable(look: Look, diverged: Rgb): Uint32Array {
  const table = new Uint32Array((SHADES + 1) * TONES);
  for (let v = 0; v <= SHADES; v++) {
    const colour = (v < SHADES ? ramp(look, v / (SHADES - 1)) : diverged).map(toLinear);
    for (let k = 0; k < TONES; k++) {
      const sun = k / (TONES - 1);
      const lit = colour.map((c, i) => Math.min(1, c * (look.shadow[i] * (1 - sun) + look.sun[i] * sun)));
      table[v * TONES + k] = pixel(lit.map(c => Math.min(1, fromLinear(c))) as Rgb);
    }
  }
  return table;
}

/** Pixels of a wall by height above the base, [SHADES]: strata of the ramp, seen through paper. */
export function wallTable(look: Look, base: number, top: number, tone: number): Uint32Array {
  return Uint32Array.from({ length: SHADES }, (_, v) => {
    const z = base + ((top - base) * v) / (SHADES - 1);
    const stratum = ramp(look, z / top);
    return pixel(look.wall.map((w, i) => tone * (w * (1 - look.strata) + stratum[i] * look.strata)) as Rgb);
  });
}

/** Radians of the sun's direction and of half a shadow's edge; the sky's share; strides. */
const sun = constants.light;

/** The light at each vertex, 0 … 1: a sun with soft shadows, and a sky that is darker in hollows. */
export function bakeLight(field: Field): Float32Array {
  const [nx, ny] = [field.x.n, field.y.n];
  const cell = 2 / (nx - 1);
  const heights = Float64Array.from(field.height, h => h * field.scale.block);
  const z = (i: number, j: number) => heights[Math.max(0, Math.min(ny - 1, j)) * nx + Math.max(0, Math.min(nx - 1, i))];
  const horizon = horizonOf(nx, ny, cell, heights);
  const [sx, sy] = [Math.cos(sun.azimuth), Math.sin(sun.azimuth)];
  const [flat, up] = [Math.cos(sun.elevation), Math.sin(sun.elevation)];
  const light = new Float32Array(nx * ny);
  for (let j = 0; j < ny; j++) {
    for (let i = 0; i < nx; i++) {
      const dx = (z(i + 1, j) - z(i - 1, j)) / (2 * cell);
      const dy = ((z(i, j + 1) - z(i, j - 1)) / 4) * (ny - 1);
      const facing = Math.max(0, (up - (dx * sx + dy * sy) * flat) / Math.hypot(dx, dy, 1));
      let sky = 0;
      for (let k = 0; k < sun.skyDirections; k++) {
        const a = (k / sun.skyDirections) * 2 * Math.PI;
        sky += 1 / Math.hypot(1, horizon(i, j, Math.cos(a), Math.sin(a), sun.skyReach)) / sun.skyDirections;
      }
      const above = Math.atan(horizon(i, j, sx, sy, sun.shadowReach)) - sun.elevation;
      const shadow = Math.min(1, Math.max(0, (above + sun.softness) / 0.3)) * 0.75;
      light[j * nx + i] = Math.min(1, sun.skyShare * sky * sky + (1 - sun.skyShare) * facing * (1 - shadow));
    }
  }
  return light;
}

/** The steepest slope upwards that is seen from a vertex in a direction; strides grow with the distance. */
function horizonOf(nx: number, ny: number, cell: number, heights: Float64Array) {
  const between = (x: number, y: number) => {
    const i = Math.floor(x), j = Math.floor(y), a = x - i, b = y - j;
    const k = j * nx + i, right = i < nx - 1 ? 1 : 0, up = j < ny - 1 ? nx : 0;
    const low = heights[k] * (1 - a) + heights[k + right] * a, high = heights[k + up] * (1 - a) + heights[k + up + right] * a;
    return low * (1 - b) + high * b;
  };
  return (i: number, j: number, dx: number, dy: number, steps: number): number => {
    const here = heights[j * nx + i];
    let slope = 0;
    for (let q = 1; q <= steps; q++) {
      const r = 0.18 * q * q + 0.82 * q, x = i + dx * r, y = j + dy * r;
      if (x < 0 || y < 0 || x > nx - 1 || y > ny - 1) break;
      slope = Math.max(slope, (between(x, y) - here) / (r * cell));
    }
    return slope;
  };
}
