/// What stands around a path on the stage: the block's edges, axes with their scales, critical points, the escape step.
import { project } from './camera';
import { world } from './field';
import type { Axis, Mark } from '../film/film';
import { SERIF, SANS, type Label } from './labels';
import { linearTicks, short } from '../ui/numbers';
import { positionAt, type Trace, type View } from './paths';
import { BASE } from './relief';
import { mark } from './glyph';
import { constants } from './theme';

const LIFT = 0.006;
const NARROW = constants.view.narrow;
const DARK = 'rgba(10, 20, 26, 0.85)';

/** A point of the world on the canvas. */
function onCanvas(view: View, x: number, y: number, z: number): [number, number, number] {
  const p = new Float64Array(3);
  project(view.matrix, view.width, view.height, x, y, z, p);
  return [p[0], p[1], p[2]];
}

/** The block's upper edges where they are seen. */
export function drawEdges(view: View, edges: Float64Array[]): void {
  const { context: c, relief, theme } = view;
  const zoom = relief.width / view.width;
  c.strokeStyle = theme.edge;
  c.lineWidth = 1;
  for (const edge of edges) {
    c.beginPath();
    let down = false;
    for (let i = 0; i < edge.length; i += 3) {
      const [x, y, distance] = onCanvas(view, edge[i], edge[i + 1], edge[i + 2]);
      const visible = !Number.isNaN(x) && relief.isVisible(x * zoom, y * zoom, distance, 0.012);
      if (visible && down) c.lineTo(x, y);
      else c.moveTo(x, y);
      down = visible;
    }
    c.stroke();
  }
}

/** Ticks and names along the two lower edges that face the camera, at each axis's own scale. */
export function drawAxes(view: View, x: Axis, y: Axis, azimuth: number): void {
  const { context: c, theme } = view;
  const [sx, sy] = [Math.cos(azimuth) > 0 ? 1 : -1, Math.sin(azimuth) > 0 ? 1 : -1];
  const few = view.width < NARROW ? 3 : 5;
  c.textAlign = 'center';
  c.textBaseline = 'middle';
  const tick = (u: number, v: number, du: number, dv: number, text: string) => {
    const [px, py] = onCanvas(view, u, v, BASE);
    const [qx, qy] = onCanvas(view, u + du, v + dv, BASE);
    c.strokeStyle = c.fillStyle = theme.ink3;
    c.lineWidth = 1;
    c.beginPath();
    c.moveTo(px, py);
    c.lineTo(px + (qx - px) * 0.28, py + (qy - py) * 0.28);
    c.stroke();
    c.font = `11px ${SANS}`;
    c.fillText(text, qx, qy);
  };
  for (const v of linearTicks(x.lo, x.hi, few)) tick(world(x, v), sy, 0, sy * 0.15, short(v));
  for (const v of linearTicks(y.lo, y.hi, few)) tick(sx, world(y, v), sx * 0.15, 0, short(v));
  name(view, x, [0, sy * 1.34], [0, sy]);
  name(view, y, [sx * 1.34, 0], [sx, 0]);
}

/** The map over the lower left corner, in CSS pixels. */
const INSET = 240;

/** An axis's name in italics and, where it is not 1, what its unit is in weight space; away from the block. */
function name(view: View, axis: Axis, at: [number, number], edge: [number, number]): void {
  const { context: c, theme } = view;
  const [x, y] = onCanvas(view, ...at, BASE);
  const [from] = onCanvas(view, ...edge, BASE);
  const long = axis.name.length > 2;
  c.textAlign = !long || Math.abs(x - from) < 12 ? 'center' : x < from ? 'right' : 'left';
  c.fillStyle = theme.ink2;
  c.font = `italic 15px ${SERIF}`;
  const unit = axis.scale === 1 ? '' : `1 is ${short(axis.scale, 2)} in weights`;
  const length = Math.max(c.measureText(axis.name).width, unit.length * 5.6);
  const before = { left: 0, center: length / 2, right: length }[c.textAlign as 'left'];
  const map = view.width < NARROW || y < view.height - INSET ? 0 : Math.min(INSET - 40, 0.26 * view.width);
  const inside = Math.min(view.width - 6 - length + before, Math.max(6 + before + map, x));
  c.fillText(axis.name, inside, y);
  c.fillStyle = theme.ink3;
  c.font = `11px ${SANS}`;
  c.fillText(unit, inside, y + 16);
}

/** Minima as crosses, saddles and maxima as ×, and words for those that have room. */
export function drawMarks(view: View, marks: Mark[], x: Axis, y: Axis, verbose: boolean): Label[] {
  const { context: c, relief, theme } = view;
  const zoom = relief.width / view.width;
  const labels: Label[] = [];
  c.lineCap = 'round';
  for (const { kind, x: u, y: v, text } of marks) {
    const [wx, wy] = [world(x, u), world(y, v)];
    if (kind === 'escape' || Math.abs(wx) > 1 || Math.abs(wy) > 1) continue;
    const [px, py, distance] = onCanvas(view, wx, wy, relief.heightAt(wx, wy) + LIFT);
    if (!relief.isVisible(px * zoom, py * zoom, distance, 0.02)) continue;
    c.beginPath();
    const [a, b] = kind === 'minimum' ? [6, 0] : [4.6, 4.6];
    c.moveTo(px - a, py - b);
    c.lineTo(px + a, py + b);
    c.moveTo(px + b, py - a);
    c.lineTo(px - b, py + a);
    for (const [style, width] of [[DARK, 5], ['#FFFFFF', 2]] as const) {
      c.strokeStyle = style;
      c.lineWidth = width;
      c.stroke();
    }
    if (verbose) labels.push({ x: px, y: py, text: text || kind, font: `italic 14px ${SERIF}`, colour: theme.ink, leader: true });
  }
  return labels;
}

/** Where the first trace begins. */
export function drawStart(view: View, trace: Trace, verbose: boolean): Label[] {
  const { context: c, theme } = view;
  const at = positionAt(trace, -Infinity);
  if (!at) return [];
  const [x, y] = onCanvas(view, ...at);
  c.beginPath();
  c.arc(x, y, 4.5, 0, 2 * Math.PI);
  for (const [style, width] of [[theme.casing, 4.5], [theme.ink, 1.6]] as const) {
    c.strokeStyle = style;
    c.lineWidth = width;
    c.stroke();
  }
  return verbose ? [{ x, y, text: 'start', font: `italic 14px ${SERIF}`, colour: theme.ink, leader: true }] : [];
}

const DOTS = 40;

/** The step along the direction of escape, dotted, from where the path ends. */
export function drawEscape(view: View, marks: Mark[], x: Axis, y: Axis, from: [number, number, number]): Label[] {
  const { context: c, relief, theme } = view;
  return marks.filter(m => m.kind === 'escape').map(({ x: u, y: v, text }) => {
    const [wx, wy] = [world(x, u), world(y, v)];
    c.beginPath();
    let [px, py] = [0, 0];
    for (let i = 0; i <= DOTS; i++) {
      const [a, b] = [from[0] + ((wx - from[0]) * i) / DOTS, from[1] + ((wy - from[1]) * i) / DOTS];
      [px, py] = onCanvas(view, a, b, relief.heightAt(a, b) + 0.012);
      c.lineTo(px, py);
    }
    c.lineCap = 'round';
    for (const [style, width, dash] of [[theme.casing, 5, []], [theme.ink, 2, [1, 6]]] as const) {
      c.strokeStyle = style;
      c.lineWidth = width;
      c.setLineDash([...dash]);
      c.stroke();
    }
    c.setLineDash([]);
    mark(c, 0, px, py, 5.4, theme.ink, theme.casing);
    mark(c, 0, px, py, 2.8, theme.casing, theme.ink);
    return { x: px, y: py, text, font: `italic 14px ${SERIF}`, colour: theme.ink, leader: true };
  });
}
