/// The map: a field from above, coloured by height, with its contour lines.
import { DIVERGED, MISSING, onAxis, sample, type Field } from './field';
import { divergedColour, pixel, ramp, type Rgb } from './shade';
import { constants, type Theme } from './theme';

/** (half width in pixels, darkness) of lines, and the levels a pixel from which lines are drawn fainter. */
const { thin, thick, dense } = constants.map;

/** Pixels of a map of this size. */
export function drawMap(field: Field, width: number, height: number, theme: Theme): ImageData {
  const image = new ImageData(width, height);
  const pixels = new Uint32Array(image.data.buffer);
  const level = new Float32Array(width * height);
  const at = (i: number, j: number): [number, number] => [((i + 0.5) / width) * 2 - 1, 1 - ((j + 0.5) / height) * 2];
  for (let j = 0; j < height; j++) for (let i = 0; i < width; i++) level[j * width + i] = sample(field, field.level, ...at(i, j));
  const colours = Array.from({ length: 256 }, (_, v) => ramp(theme.look, v / 255));
  const diverged = divergedColour(theme.look, theme.bad);
  for (let j = 0; j < height; j++) {
    for (let i = 0; i < width; i++) {
      const state = stateAt(field, ...at(i, j));
      if (state === MISSING) continue;
      const ground = state === DIVERGED ? diverged : colours[Math.round(sample(field, field.height, ...at(i, j)) * 255)];
      const line = state === DIVERGED ? 0 : lineAt(level, i, j, width, height, field.scale.major) * sample(field, field.support, ...at(i, j));
      pixels[j * width + i] = pixel(ground.map(c => c * theme.dim * (1 - 0.9 * line)) as Rgb);
    }
  }
  return image;
}

function stateAt(field: Field, u: number, v: number): number {
  const i = Math.round(((u + 1) / 2) * (field.x.n - 1));
  const j = Math.round(((v + 1) / 2) * (field.y.n - 1));
  return field.state[j * field.x.n + i];
}

/** Darkness of the contour line through a pixel, from the level's differences around it. */
function lineAt(level: Float32Array, i: number, j: number, width: number, height: number, major: number): number {
  const right = level[j * width + Math.min(width - 1, i + 1)], left = level[j * width + Math.max(0, i - 1)];
  const down = level[Math.min(height - 1, j + 1) * width + i], up = level[Math.max(0, j - 1) * width + i];
  const steep = Math.hypot(right - left, down - up) / 2 + 1e-5;
  const here = level[j * width + i];
  const line = Math.round(here);
  const [half, dark] = line % major === 0 ? thick : thin;
  const cover = Math.min(1, Math.max(0, half + 0.4 - Math.abs(here - line) / steep)) * dark;
  return steep > dense ? cover * 0.6 : cover;
}

/** The values on the axes under a point of a map of this size. */
export function underMap(field: Field, x: number, y: number, width: number, height: number): [number, number] {
  return [onAxis(field.x, (x / width) * 2 - 1), onAxis(field.y, 1 - (y / height) * 2)];
}
