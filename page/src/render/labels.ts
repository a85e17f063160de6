/// Labels on a canvas, placed so that they cover neither one another nor what they name.
import { constants, type Theme } from './theme';

export const SANS = '"Steepest Sans", ui-sans-serif, system-ui, sans-serif';
export const SERIF = '"Steepest Serif", Georgia, serif';

export interface Label {
  /** Position of what it names. */
  x: number;
  y: number;
  text: string;
  font: string;
  colour: string;
  /** Draw a line to it. */
  leader: boolean;
}

interface Box {
  left: number;
  top: number;
  right: number;
  bottom: number;
}

/** Offsets of a label from what it names, nearest first; from the distance `long` on, a leader line connects them. */
const { lineHeight: LINE_HEIGHT, clear: CLEAR, near: NEAR, far, reach, long } = constants.labels;
const FAR = reach.flatMap(r => far.map(([x, y]) => [x * r, y * r]));

/**
 * Draws labels inside a canvas of this size, the first ones taking their places first.
 *
 * @param obstacles points x, y, … that labels with a leader keep away from.
 */
export function drawLabels(
  c: CanvasRenderingContext2D, labels: Label[], obstacles: number[], width: number, height: number, theme: Theme,
): void {
  const taken: Box[] = labels.map(({ x, y }) => around(x, y, CLEAR));
  const avoided: Box[] = [];
  for (let i = 0; i < obstacles.length; i += 2) avoided.push(around(obstacles[i], obstacles[i + 1], 3));
  c.textBaseline = 'middle';
  c.textAlign = 'left';
  c.lineJoin = 'round';
  for (const label of labels) {
    c.font = label.font;
    const size = c.measureText(label.text).width;
    const places = (label.leader ? FAR : [...NEAR, ...FAR]).map(([dx, dy]) => place(label, dx, dy, size));
    const inside = (b: Box) => b.left >= 4 && b.right <= width - 4 && b.top >= 4 && b.bottom <= height - 4;
    const free = (b: Box) => inside(b) && !taken.some(other => overlap(b, other));
    const chosen = places.find(p => free(p.box) && !(label.leader && avoided.some(other => overlap(p.box, other))))
      ?? places.find(p => free(p.box)) ?? places.find(p => inside(p.box));
    if (!chosen) continue;
    taken.push(chosen.box);
    draw(c, label, chosen, theme);
  }
}

const around = (x: number, y: number, r: number): Box => ({ left: x - r, right: x + r, top: y - r, bottom: y + r });

interface Place {
  box: Box;
  dx: number;
  dy: number;
}

function place({ x, y }: Label, dx: number, dy: number, size: number): Place {
  const left = dx < 0 ? x + dx - size : x + dx;
  return { box: { left, right: left + size, top: y + dy - LINE_HEIGHT / 2, bottom: y + dy + LINE_HEIGHT / 2 }, dx, dy };
}

const overlap = (a: Box, b: Box) => a.left < b.right + 3 && b.left < a.right + 3 && a.top < b.bottom && b.top < a.bottom;

function draw(c: CanvasRenderingContext2D, label: Label, { box, dx, dy }: Place, theme: Theme): void {
  const { x, y, text, colour } = label;
  const distance = Math.hypot(dx, dy);
  if (distance > long) {
    c.beginPath();
    c.moveTo(x + (dx / distance) * 9, y + (dy / distance) * 9);
    c.lineTo(dx < 0 ? box.right + 4 : box.left - 4, y + dy);
    c.strokeStyle = theme.edge;
    c.lineWidth = 1;
    c.stroke();
  }
  c.strokeStyle = theme.paper;
  c.lineWidth = 4;
  c.globalAlpha = 0.9;
  c.strokeText(text, box.left, y + dy);
  c.globalAlpha = 1;
  c.fillStyle = colour;
  c.fillText(text, box.left, y + dy);
}

const LOWERED: Record<string, string> = { '⁻': '−' };
[...'⁰¹²³⁴⁵⁶⁷⁸⁹'].forEach((s, i) => (LOWERED[s] = String(i)));

/** Text whose superscripts are small raised digits: few fonts have all of them. Returns where it ends. */
export function write(c: CanvasRenderingContext2D, text: string, x: number, y: number, size: number): void {
  const runs = text.match(/[⁻⁰¹²³⁴⁵⁶⁷⁸⁹]+|[^⁻⁰¹²³⁴⁵⁶⁷⁸⁹]+/g) ?? [];
  const parts = runs.map(run => {
    const raised = run[0] in LOWERED;
    const shown = raised ? [...run].map(s => LOWERED[s]).join('') : run;
    c.font = `${raised ? size * 0.72 : size}px ${SANS}`;
    return { shown, raised, font: c.font, width: c.measureText(shown).width };
  });
  const whole = parts.reduce((sum, part) => sum + part.width, 0);
  let at = x - (c.textAlign === 'right' ? whole : c.textAlign === 'center' ? whole / 2 : 0);
  const align = c.textAlign;
  c.textAlign = 'left';
  for (const part of parts) {
    c.font = part.font;
    c.fillText(part.shown, at, part.raised ? y - size * 0.34 : y);
    at += part.width;
  }
  c.textAlign = align;
}
