/// A field as a block of relief, rasterised with a depth buffer into ImageData.
import { project, unproject, type Matrix } from './camera';
import { DIVERGED, MISSING, type Field } from './field';
import { bakeLight, divergedColour, SHADES, shadeTable, TONES, wallTable } from './shade';
import { constants, type Theme } from './theme';

/** `line` is half the width of a contour line as a share of the canvas's width, `base` the height of the block's floor. */
const { base: BASE, wallTones, line: LINE, thickLine } = constants.relief;
export { BASE };
/** Pixels at a triangle's edge belong to both sides, so that rounding leaves no gaps. */
const EDGE = -1e-6;

/** In the middle of the table's last row, whatever rounding does. */
const BROKEN = SHADES + 0.5;

/** Diagonals alternate, so that no direction is favoured: here from right to left. */
const isOther = (i: number, j: number) => ((i + j) & 1) === 1;

export class Relief {
  width = 0;
  height = 0;
  image!: ImageData;
  private pixels!: Uint32Array;
  /** 1 / distance of what is seen at each pixel; 0 where nothing is. */
  private depth!: Float32Array;
  private readonly corners: Float64Array;
  private readonly shade: Float32Array;
  private readonly ring = new Float64Array(12);
  private table: Uint32Array = new Uint32Array(0);
  private walls = [this.table, this.table];
  private contour = { thin: 0, thick: 0 };

  /** `light` at each vertex, 0 … 1. */
  constructor(readonly field: Field, private readonly light = bakeLight(field)) {
    this.corners = new Float64Array(field.height.length * 3);
    this.shade = field.height.map(h => Math.min(SHADES - 1, Math.max(0, h * (SHADES - 1))));
  }

  setTheme({ look, bad }: Theme): void {
    this.table = shadeTable(look, divergedColour(look, bad));
    this.walls = wallTones.map(tone => wallTable(look, BASE, this.field.scale.block, tone));
    this.contour = { thin: look.thin, thick: look.thick };
  }

  resize(width: number, height: number): void {
    if (width === this.width && height === this.height) return;
    [this.width, this.height] = [width, height];
    this.image = new ImageData(width, height);
    this.pixels = new Uint32Array(this.image.data.buffer);
    this.depth = new Float32Array(width * height);
  }

  /** Draws the block into `image`. */
  render(m: Matrix, azimuth: number): void {
    const { x, y, scale, height, state } = this.field;
    this.pixels.fill(0);
    this.depth.fill(0);
    for (let j = 0, k = 0; j < y.n; j++) {
      for (let i = 0; i < x.n; i++, k++) {
        project(m, this.width, this.height, this.worldX(i), this.worldY(j), height[k] * scale.block, this.corners, 3 * k);
      }
    }
    for (let j = 0; j < y.n - 1; j++) {
      for (let i = 0; i < x.n - 1; i++) {
        const k = j * x.n + i;
        const [a, b, c, d] = [k, k + 1, k + x.n, k + x.n + 1];
        if (state[a] === MISSING || state[b] === MISSING || state[c] === MISSING || state[d] === MISSING) continue;
        const other = isOther(i, j);
        this.triangle(a, b, other ? c : d);
        this.triangle(other ? b : a, d, c);
      }
    }
    this.wallsFacing(m, azimuth);
  }

  /** Whether a world point that projects to these pixels at this distance is in front of the relief. */
  isVisible(px: number, py: number, distance: number, slack: number): boolean {
    const [i, j] = [Math.floor(px), Math.floor(py)];
    if (i < 0 || j < 0 || i >= this.width || j >= this.height) return true;
    return 1 / distance > this.depth[j * this.width + i] * (1 - slack);
  }

  /** The point of the surface at a pixel, in world coordinates; null beside the block and on its walls. */
  pick(m: Matrix, px: number, py: number): [number, number] | null {
    const [i, j] = [Math.floor(px), Math.floor(py)];
    const near = this.depth[j * this.width + i];
    if (i < 0 || j < 0 || i >= this.width || j >= this.height || !near) return null;
    const [x, y] = unproject(m, this.width, this.height, px, py, 1 / near);
    return Math.abs(x) < 1 && Math.abs(y) < 1 ? [x, y] : null;
  }

  /** World height of the surface as it is drawn: on the same triangles. */
  heightAt(x: number, y: number): number {
    const { height, scale } = this.field;
    const nx = this.field.x.n, ny = this.field.y.n;
    const fx = Math.min(1, Math.max(0, (x + 1) / 2)) * (nx - 1), fy = Math.min(1, Math.max(0, (y + 1) / 2)) * (ny - 1);
    const i = Math.min(nx - 2, Math.floor(fx)), j = Math.min(ny - 2, Math.floor(fy));
    const u = fx - i, v = fy - j, k = j * nx + i;
    const a = height[k], b = height[k + 1], c = height[k + nx], d = height[k + nx + 1];
    if (isOther(i, j)) return scale.block * (u + v < 1 ? a + (b - a) * u + (c - a) * v : d + (c - d) * (1 - u) + (b - d) * (1 - v));
    return scale.block * (u > v ? a + (b - a) * u + (d - b) * v : a + (d - c) * u + (c - a) * v);
  }

  /** The four upper edges of the block as polylines x, y, z; z is NaN where nothing is. */
  edges(): Float64Array[] {
    const { x, y, height, state, scale } = this.field;
    const along = (n: number, at: (q: number) => [number, number]) =>
      Float64Array.from(Array.from({ length: n }, (_, q) => at(q)).flatMap(([i, j]) => {
        const k = j * x.n + i;
        return [this.worldX(i), this.worldY(j), state[k] === MISSING ? NaN : height[k] * scale.block];
      }));
    return [0, 1].flatMap(side => [along(x.n, i => [i, side * (y.n - 1)]), along(y.n, j => [side * (x.n - 1), j])]);
  }

  private worldX = (i: number) => (2 * i) / (this.field.x.n - 1) - 1;
  private worldY = (j: number) => (2 * j) / (this.field.y.n - 1) - 1;

  private triangle(a: number, b: number, c: number): void {
    const { corners, width, height, depth, pixels, light, shade, table } = this;
    const { level, support, state, scale } = this.field;
    const ax = corners[3 * a], ay = corners[3 * a + 1], bx = corners[3 * b], by = corners[3 * b + 1];
    const cx = corners[3 * c], cy = corners[3 * c + 1];
    const area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax);
    if (Math.abs(area) < 1e-9) return;
    const y0 = Math.max(0, Math.ceil(Math.min(ay, by, cy) - 0.5));
    const y1 = Math.min(height - 1, Math.floor(Math.max(ay, by, cy) - 0.5));
    const x0 = Math.max(0, Math.ceil(Math.min(ax, bx, cx) - 0.5));
    const x1 = Math.min(width - 1, Math.floor(Math.max(ax, bx, cx) - 0.5));
    const da = (by - cy) / area, db = (cy - ay) / area; // how weights of a and b grow along x
    const ea = (cx - bx) / area, eb = (ax - cx) / area; // and along y
    const wa = 1 / corners[3 * a + 2], wb = 1 / corners[3 * b + 2], wc = 1 / corners[3 * c + 2];
    const la = light[a], lb = light[b], lc = light[c], ua = level[a], ub = level[b], uc = level[c];
    const broken = state[a] === DIVERGED || state[b] === DIVERGED || state[c] === DIVERGED;
    const va = broken ? BROKEN : shade[a], vb = broken ? BROKEN : shade[b], vc = broken ? BROKEN : shade[c];
    // Contour levels a pixel: lines fade where they are dense, and where the standard error does not support them.
    const steep = Math.hypot((ua - uc) * da + (ub - uc) * db, (ua - uc) * ea + (ub - uc) * eb);
    const worth = broken ? 0 : (support[a] + support[b] + support[c]) / 3;
    const thin = this.contour.thin * worth * Math.min(1, Math.max(0, 1.25 - steep * 5));
    const thick = this.contour.thick * worth * Math.min(1, Math.max(0, 1.25 - steep * 1.6));
    const perPixel = 1 / Math.max(1e-5, steep);
    const halfThin = LINE * width + 0.5, halfThick = LINE * width * thickLine + 0.5;
    const major = scale.major;
    for (let y = y0; y <= y1; y++) {
      let pa = (x0 + 0.5 - cx) * da + (y + 0.5 - cy) * ea;
      let pb = (x0 + 0.5 - cx) * db + (y + 0.5 - cy) * eb;
      for (let x = x0, k = y * width + x0; x <= x1; x++, k++, pa += da, pb += db) {
        const pc = 1 - pa - pb;
        if (pa < EDGE || pb < EDGE || pc < EDGE) continue;
        const near = pa * wa + pb * wb + pc * wc;
        if (near <= depth[k]) continue;
        depth[k] = near;
        const u = pa * ua + pb * ub + pc * uc;
        const line = Math.round(u);
        const isThick = line % major === 0;
        const cover = (isThick ? halfThick : halfThin) - Math.abs(u - line) * perPixel;
        let lit = pa * la + pb * lb + pc * lc;
        if (cover > 0) lit *= 1 - Math.min(1, cover) * (isThick ? thick : thin);
        pixels[k] = table[((pa * va + pb * vb + pc * vc) | 0) * TONES + ((lit * (TONES - 1)) | 0)];
      }
    }
  }

  /** The two walls that the camera sees. */
  private wallsFacing(m: Matrix, azimuth: number): void {
    const [nx, ny] = [this.field.x.n, this.field.y.n];
    const east = Math.cos(azimuth) > 0, north = Math.sin(azimuth) > 0;
    for (let j = 0; j < ny - 1; j++) {
      const k = j * nx + (east ? nx - 1 : 0);
      this.wall(m, k, k + nx, this.walls[0]);
    }
    for (let i = 0; i < nx - 1; i++) {
      const k = (north ? (ny - 1) * nx : 0) + i;
      this.wall(m, k, k + 1, this.walls[1]);
    }
  }

  /** One piece of wall, from the surface between two vertices down to the base. */
  private wall(m: Matrix, a: number, b: number, table: Uint32Array): void {
    const { x, height, scale, state } = this.field;
    if (state[a] === MISSING || state[b] === MISSING) return;
    [a, b].forEach((k, q) => {
      const [u, v] = [this.worldX(k % x.n), this.worldY(Math.floor(k / x.n))];
      project(m, this.width, this.height, u, v, height[k] * scale.block, this.ring, 3 * q);
      project(m, this.width, this.height, u, v, BASE, this.ring, 6 + 3 * q);
    });
    const top = (SHADES - 1) / (scale.block - BASE);
    const [za, zb] = [a, b].map(k => (height[k] * scale.block - BASE) * top);
    this.wallTriangle(0, 3, 6, za, zb, 0, table);
    this.wallTriangle(3, 9, 6, zb, 0, 0, table);
  }

  private wallTriangle(a: number, b: number, c: number, va: number, vb: number, vc: number, table: Uint32Array): void {
    const { ring, width, height, depth, pixels } = this;
    const ax = ring[a], ay = ring[a + 1], bx = ring[b], by = ring[b + 1], cx = ring[c], cy = ring[c + 1];
    const area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax);
    if (Math.abs(area) < 1e-9) return;
    const y0 = Math.max(0, Math.ceil(Math.min(ay, by, cy) - 0.5));
    const y1 = Math.min(height - 1, Math.floor(Math.max(ay, by, cy) - 0.5));
    const x0 = Math.max(0, Math.ceil(Math.min(ax, bx, cx) - 0.5));
    const x1 = Math.min(width - 1, Math.floor(Math.max(ax, bx, cx) - 0.5));
    const da = (by - cy) / area, db = (cy - ay) / area, ea = (cx - bx) / area, eb = (ax - cx) / area;
    const wa = 1 / ring[a + 2], wb = 1 / ring[b + 2], wc = 1 / ring[c + 2];
    for (let y = y0; y <= y1; y++) {
      let pa = (x0 + 0.5 - cx) * da + (y + 0.5 - cy) * ea;
      let pb = (x0 + 0.5 - cx) * db + (y + 0.5 - cy) * eb;
      for (let x = x0, k = y * width + x0; x <= x1; x++, k++, pa += da, pb += db) {
        const pc = 1 - pa - pb;
        if (pa < EDGE || pb < EDGE || pc < EDGE) continue;
        const near = pa * wa + pb * wb + pc * wc;
        if (near <= depth[k] * 1.0006) continue; // the surface's own edge stays in front of its wall
        depth[k] = near;
        pixels[k] = table[Math.min(SHADES - 1, Math.max(0, pa * va + pb * vb + pc * vc)) | 0];
      }
    }
  }
}
