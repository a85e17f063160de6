/// The members' paths over a relief: outlined where visible, dotted where hidden, faint far from the plane, dashed where undone.
import { project, type Matrix } from './camera';
import { world } from './field';
import { mark } from './glyph';
import type { Relief } from './relief';
import { constants, type Theme } from './theme';
import { indexAt, type Track } from '../film/track';
import { JUMP, KEPT, UNDONE, wayOf } from '../film/way';

/** A path in world coordinates. */
export interface Trace {
  /** Steps of its points. */
  t: Float64Array;
  /** x, y, z of its points; NaN outside the plot. */
  at: Float64Array;
  /** Of each point: 1 in the plane, less far from it. */
  near: Float32Array;
  /** How each point was reached: by a kept step, by an undone one, or by a jump back. */
  state: Uint8Array;
  name: string;
}

export interface Head {
  x: number;
  y: number;
  member: number;
}

/** `farOff`: distance from the plane, as a share of the plot's half width, at which a path is `faintest`. */
const style = constants.path;
/** Height above the surface, so that the line does not sink between vertices. */
export const LIFT = style.lift;
/** Share of its distance by which a point on the surface may lie behind it and still count as visible. */
export const SLACK = style.slack;

/** A track's path over a surface; null where it has none. */
export function traceOf(track: Track, surface: string, relief: Relief): Trace | null {
  const on = wayOf(track, surface);
  if (!on) return null;
  const { x, y } = relief.field;
  const n = on.x.length;
  const at = new Float64Array(3 * n);
  const reach = Math.max((x.hi - x.lo) * x.scale, (y.hi - y.lo) * y.scale) / 2;
  const near = Float32Array.from(on.off, off => Math.max(style.faintest, 1 - Math.abs(off) / (style.farOff * reach)));
  for (let k = 0; k < n; k++) {
    const [u, v] = [world(x, on.x[k]), world(y, on.y[k])];
    const outside = !(Math.abs(u) <= 1 && Math.abs(v) <= 1);
    at.set(outside ? [NaN, NaN, NaN] : [u, v, relief.heightAt(u, v) + LIFT], 3 * k);
  }
  return { t: on.t, at, near, state: on.state, name: track.name };
}

/** Position of a trace at a step, between its points; null outside the plot. */
export function positionAt(trace: Trace, t: number): [number, number, number] | null {
  const k = Math.max(0, indexAt(trace.t, t));
  const next = Math.min(k + 1, trace.t.length - 1);
  const span = trace.t[next] - trace.t[k];
  const share = span > 0 ? Math.min(1, Math.max(0, (t - trace.t[k]) / span)) : 0;
  const [x, y, z] = [0, 1, 2].map(i => trace.at[3 * k + i] * (1 - share) + trace.at[3 * next + i] * share);
  if (Number.isNaN(x)) return Number.isNaN(trace.at[3 * k]) ? null : [...trace.at.subarray(3 * k, 3 * k + 3)] as [number, number, number];
  return [x, y, z];
}

/** Consecutive points that are drawn alike. */
interface Stretch {
  visible: boolean;
  fade: number;
  state: number;
  points: number[];
}

/** Cuts a path up to a step into stretches of canvas points. */
function stretches(trace: Trace, t: number, view: View): Stretch[] {
  const { matrix, width, height, relief } = view;
  const zoom = relief.width / width;
  const last = indexAt(trace.t, t);
  const head = positionAt(trace, t);
  const out: Stretch[] = [];
  const p = new Float64Array(3);
  let now: Stretch | null = null;
  let [px, py] = [NaN, NaN];
  const put = (x: number, y: number, z: number, fade: number, state: number, always: boolean) => {
    if (Number.isNaN(x)) {
      now = null;
      px = NaN;
      return;
    }
    project(matrix, width, height, x, y, z, p);
    if (!always && Math.abs(p[0] - px) + Math.abs(p[1] - py) < style.near) return;
    const visible = relief.isVisible(p[0] * zoom, p[1] * zoom, p[2], SLACK);
    if (!now || now.visible !== visible || now.fade !== fade || now.state !== state) {
      now = { visible, fade, state, points: Number.isNaN(px) ? [] : [px, py] };
      out.push(now);
    }
    now.points.push(p[0], p[1]);
    [px, py] = [p[0], p[1]];
  };
  for (let k = 0; k <= last; k++) {
    const fade = Math.round(trace.near[k] * style.fades) / style.fades;
    const state = trace.state[k];
    const turns = state === JUMP || trace.state[k + 1] === JUMP || state !== (trace.state[k + 1] ?? state);
    put(trace.at[3 * k], trace.at[3 * k + 1], trace.at[3 * k + 2], fade, state, k === last || turns);
  }
  const on = trace.state[Math.min(last + 1, trace.state.length - 1)];
  if (head) put(...head, Math.round(trace.near[Math.max(0, last)] * style.fades) / style.fades, on === JUMP ? UNDONE : on, true);
  return out;
}

/** What a scene is drawn with. */
export interface View {
  context: CanvasRenderingContext2D;
  relief: Relief;
  matrix: Matrix;
  /** Of the canvas, in CSS pixels. */
  width: number;
  height: number;
  theme: Theme;
}

/** Draws all paths up to a step, the selected one on top, and returns the members' positions. */
export function drawPaths(view: View, traces: (Trace | null)[], t: number, selected: number): Head[] {
  const { context: c, theme } = view;
  c.lineJoin = c.lineCap = 'round';
  const order = traces.map((_, member) => member).sort((a, b) => Number(a === selected) - Number(b === selected));
  for (const member of order) {
    const trace = traces[member];
    if (trace) drawPath(view, stretches(trace, t, view), theme.members[member % 6], member === selected ? style.selected : style.other);
  }
  return order.flatMap(member => {
    const trace = traces[member];
    const at = trace && positionAt(trace, t);
    return at ? [drawHead(view, at, member)] : [];
  });
}

/** Some canvas points of all whole paths, x, y, …: they stay while the film plays, and so do the labels. */
export function outlines({ matrix, width, height }: View, traces: (Trace | null)[]): number[] {
  const p = new Float64Array(3);
  return traces.flatMap(trace => {
    const n = trace ? trace.t.length : 0;
    const points: number[] = [];
    for (let k = 0; k < n; k += Math.max(1, Math.floor(n / style.obstacles))) {
      project(matrix, width, height, trace!.at[3 * k], trace!.at[3 * k + 1], trace!.at[3 * k + 2], p);
      if (!Number.isNaN(p[0])) points.push(p[0], p[1]);
    }
    return points;
  });
}

function drawPath(view: View, parts: Stretch[], colour: string, width: number): void {
  const { context: c, theme } = view;
  const stroke = (part: Stretch, ink: string, line: number, alpha: number) => {
    c.beginPath();
    for (let i = 0; i < part.points.length; i += 2) c.lineTo(part.points[i], part.points[i + 1]);
    c.strokeStyle = ink;
    c.lineWidth = line;
    c.globalAlpha = alpha;
    c.stroke();
  };
  const { hidden, undone, jump } = style;
  c.lineCap = 'round';
  c.setLineDash(jump.dash);
  for (const part of parts) if (part.state === JUMP) stroke(part, theme.ink, jump.width, part.visible ? jump.alpha : jump.alpha / 2);
  c.setLineDash(hidden.dash);
  for (const part of parts) if (!part.visible && part.state !== JUMP) stroke(part, colour, hidden.width, hidden.alpha * part.fade);
  c.lineCap = 'butt';
  c.setLineDash([]);
  const seen = (state: number) => parts.filter(part => part.visible && part.state === state);
  for (const part of seen(UNDONE)) stroke(part, theme.casing, undone.width + undone.casing, theme.opacity * part.fade);
  c.setLineDash(undone.dash);
  for (const part of seen(UNDONE)) stroke(part, colour, undone.width, part.fade);
  c.lineCap = 'round';
  c.setLineDash([]);
  for (const part of seen(KEPT)) stroke(part, theme.casing, width + style.casing, theme.opacity * part.fade);
  for (const part of seen(KEPT)) stroke(part, colour, width, part.fade);
  c.globalAlpha = 1;
}

function drawHead(view: View, at: [number, number, number], member: number): Head {
  const { context: c, theme, matrix, width, height, relief } = view;
  const p = new Float64Array(3);
  project(matrix, width, height, ...at, p);
  const [x, y, distance] = p;
  const zoom = relief.width / width;
  c.globalAlpha = relief.isVisible(x * zoom, y * zoom, distance, SLACK) ? 1 : 0.55;
  c.fillStyle = 'rgba(0, 0, 0, 0.22)';
  c.beginPath();
  c.ellipse(x + 2.5, y + 5, 8, 4, 0, 0, 2 * Math.PI);
  c.fill();
  mark(c, member, x, y, 6, theme.members[member % 6], theme.casing);
  c.globalAlpha = 1;
  return { x, y, member };
}
