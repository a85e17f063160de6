/// What stands around a path on the stage: the block's edges, axes with their scales, critical points, the escape step.
import { project } from './camera';
import { world } from './field';
import type { Axis, Mark } from '../film/film';
import { PLACES, SERIF, SANS, type Label, type Place } from './labels';
import { linearTicks, short } from '../ui/numbers';
import { positionAt, type Trace, type View } from './paths';
import { BASE } from './relief';
import { JUMP } from '../film/way';
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

/** A point beside the block at its foot: along an edge, and so far out from it. */
type Beside = (along: number, out: number) => [number, number, number];

/** The ticks' numbers and the names of the two lower edges that face the camera, each at its axis's own scale. */
export function axisLabels(view: View, x: Axis, y: Axis, azimuth: number): Label[] {
  const [sx, sy] = [Math.cos(azimuth) > 0 ? 1 : -1, Math.sin(azimuth) > 0 ? 1 : -1];
  const edges: [Axis, Beside][] = [
    [x, (along, out) => onCanvas(view, along, sy * (1 + out), BASE)],
    [y, (along, out) => onCanvas(view, sx * (1 + out), along, BASE)],
  ];
  return [...edges.flatMap(([axis, at]) => tickLabels(view, axis, at)), ...edges.map(([axis, at]) => nameLabel(view, axis, at))];
}

const { out: OUT, farther: FARTHER, name: NAME, below: BELOW, aside: ASIDE } = constants.axes;

/** Numbers at the ticks, the first and the last one before those between. */
function tickLabels(view: View, axis: Axis, at: Beside): Label[] {
  const ticks = linearTicks(axis.lo, axis.hi, view.width < NARROW ? 3 : 5);
  const order = [ticks[0], ticks[ticks.length - 1], ...ticks.slice(1, -1)].slice(0, ticks.length);
  return order.map(v => {
    const u = world(axis, v);
    const [[px, py], [qx, qy], foot] = [at(u, OUT), at(u, FARTHER), at(u, 0)];
    const places: Place[] = [[0, 0, 0], [qx - px, qy - py, 0]];
    return { x: px, y: py, text: short(v), font: `11px ${SANS}`, colour: view.theme.ink3, places, kind: 'tick', foot: [foot[0], foot[1]] };
  });
}

/** An axis's name in italics and, where it is not 1, what its unit is in weight space. */
function nameLabel(view: View, axis: Axis, at: Beside): Label {
  const [[x, y], [edge]] = [at(0, NAME), at(0, 0)];
  const side = axis.name.length > 2 && Math.abs(x - edge) >= 12 ? Math.sign(x - edge) : 0;
  const beside = [at(0, NAME), at(ASIDE, NAME), at(-ASIDE, NAME)].map(([px, py]): Place => [px - x, py - y, side]);
  const below = [at(0, BELOW), at(ASIDE, BELOW), at(-ASIDE, BELOW)].map(([px, py]): Place => [px - x, py - y, 0]);
  const places = [...beside, ...below];
  const under = axis.scale === 1 ? '' : `1 is ${short(axis.scale, 2)} in weights`;
  return { x, y, text: axis.name, under, font: `italic 15px ${SERIF}`, colour: view.theme.ink2, places, kind: 'name' };
}

/** A word in italics beside a point. */
const word = ({ theme }: View, x: number, y: number, text: string): Label =>
  ({ x, y, text, font: `italic 14px ${SERIF}`, colour: theme.ink, places: PLACES, kind: 'thing' });

/** Minima as crosses, saddles and maxima as ×; returns their words. */
export function drawMarks(view: View, marks: Mark[], x: Axis, y: Axis): Label[] {
  const { context: c, relief } = view;
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
    labels.push(word(view, px, py, text || kind));
  }
  return labels;
}

/** Where the first trace begins. */
export function drawStart(view: View, trace: Trace): Label[] {
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
  return [word(view, x, y, 'start')];
}

/** A word where the selected path jumped back the farthest: what led there was undone. */
export function undoneLabels(view: View, { t, at, state }: Trace, now: number): Label[] {
  const point = (k: number) => [0, 1, 2].map(i => at[3 * k + i]) as [number, number, number];
  const jumps = [...state.keys()].filter(k => k > 0 && state[k] === JUMP && t[k] <= now && !Number.isNaN(at[3 * k - 3]))
    .map(k => ({ from: point(k - 1), length: Math.hypot(...point(k).map((v, i) => v - point(k - 1)[i])) }))
    .filter(({ length }) => length > 0).sort((a, b) => b.length - a.length);
  return jumps.slice(0, 1).map(({ from }) => {
    const [x, y] = onCanvas(view, ...from);
    return word(view, x, y, 'undone');
  });
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
    return word(view, px, py, text);
  });
}
