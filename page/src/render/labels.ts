/// Labels on a canvas: one placer puts all of them where they cover neither one another, nor a path, nor what lies over it.
import { around, overlap, type Box, type Room } from './boxes';
import { constants, type Theme } from './theme';

export const SANS = '"Steepest Sans", ui-sans-serif, system-ui, sans-serif';
export const SERIF = '"Steepest Serif", Georgia, serif';

/** From what a label names to the label, which ends there (−1), is centred there (0) or begins there (1). */
export type Place = readonly [dx: number, dy: number, side: number];

export interface Label {
  /** Position of what it names. */
  x: number;
  y: number;
  text: string;
  /** What it is called while its text changes. */
  id?: string;
  font: string;
  colour: string;
  /** Places that are tried, the best first. */
  places: readonly Place[];
  kind: 'thing' | 'tick' | 'name';
  /** Where a tick's line begins. */
  foot?: readonly [x: number, y: number];
  /** A small second line, which goes first where there is no room. */
  under?: string;
}

/** A label in its place. */
export interface Placed extends Box {
  label: Label;
  place: Place;
  under: string;
}

/** `clear`: half size of what a label names; `long`: distance from which a leader line connects them. */
const { lineHeight, tickHeight, clear, long, inside, path, tickAcross, tickDown } = constants.labels;
/** Places of what has a point on the stage. */
export const PLACES = constants.labels.places.map(([dx, dy]): Place => [dx, dy, Math.sign(dx)]);

/**
 * The labels that have room, the first ones taking their places first; the others are left out.
 *
 * @param obstacles points x, y, … of paths, which all but ticks keep away from.
 * @param before which of its places each label had a moment ago: it is tried first, so that labels do not jump about.
 */
export function placeLabels(
  c: CanvasRenderingContext2D, labels: Label[], obstacles: number[], room: Room, before?: Map<string, number>,
): Placed[] {
  const things = labels.filter(label => label.kind === 'thing').map(({ x, y }) => around(x, y, clear, clear));
  const ways: Box[] = [];
  for (let i = 0; i < obstacles.length; i += 2) ways.push(around(obstacles[i], obstacles[i + 1], path, path));
  const placed: Placed[] = [];
  for (const label of labels) {
    const last = label.places[before?.get(label.id ?? label.text) ?? -1];
    const places = last ? [last, ...label.places] : label.places;
    const box = [label.under ?? '', ''].flatMap(under => places.map(place => boxAt(c, label, place, under)))
      .find(box => fits(box, placed, things, ways, room));
    if (box) placed.push(box);
  }
  return placed;
}

/** Which of its places each label has. */
export const placesOf = (placed: Placed[]): Map<string, number> =>
  new Map(placed.map(({ label, place }) => [label.id ?? label.text, label.places.indexOf(place)]));

function fits(box: Placed, placed: Placed[], things: Box[], ways: Box[], { width, height, overlays }: Room): boolean {
  if (box.left < inside || box.right > width - inside || box.top < inside || box.bottom > height - inside) return false;
  const isTick = box.label.kind === 'tick';
  if ([...overlays, ...things].some(other => overlap(box, other)) || placed.some(other => overlap(box, other, 3))) return false;
  if (!isTick) return !ways.some(way => overlap(box, way));
  const own = wide(box);
  return !placed.some(other => other.label.kind === 'tick' && overlap(own, wide(other)));
}

/** A tick with the room that it keeps to others. */
const wide = ({ left, right, top, bottom }: Box): Box => around((left + right) / 2, (top + bottom) / 2, tickAcross / 2, tickDown / 2);

const SMALL = `11px ${SANS}`;
const LINE = 15;

function boxAt(c: CanvasRenderingContext2D, label: Label, place: Place, under: string): Placed {
  const [dx, dy, side] = place;
  const size = Math.max(widthOf(c, label.text, label.font), under ? widthOf(c, under, SMALL) : 0);
  const left = label.x + dx - (size * (1 - side)) / 2;
  const half = (label.kind === 'tick' ? tickHeight : lineHeight) / 2;
  return { label, place, under, left, right: left + size, top: label.y + dy - half, bottom: label.y + dy + half + (under ? LINE : 0) };
}

function widthOf(c: CanvasRenderingContext2D, text: string, font: string): number {
  c.font = font;
  return c.measureText(text).width;
}

/** Draws labels on a halo of paper, with a line to what they name where that is far. */
export function drawLabels(c: CanvasRenderingContext2D, placed: Placed[], theme: Theme): void {
  c.textBaseline = 'middle';
  c.textAlign = 'left';
  c.lineJoin = 'round';
  for (const box of placed) {
    const { label, place: [dx, dy], under, left, right } = box;
    const [x, y] = [label.x + dx, label.y + dy];
    const distance = Math.hypot(dx, dy);
    if (label.foot) {
      const [fx, fy] = label.foot;
      line(c, fx, fy, fx + (x - fx) * 0.28, fy + (y - fy) * 0.28, label.colour);
    } else if (label.kind === 'thing' && distance > long) {
      line(c, label.x + (dx / distance) * 9, label.y + (dy / distance) * 9, dx < 0 ? right + 4 : left - 4, y, theme.edge);
    }
    c.font = label.font;
    written(c, label.text, align(c, label.text, box), y, label.colour, theme);
    if (!under) continue;
    c.font = SMALL;
    written(c, under, align(c, under, box), y + LINE, theme.ink3, theme);
  }
}

/** Where a line of a label begins: its lines stand on the side that is towards what they name. */
function align(c: CanvasRenderingContext2D, text: string, { place: [, , side], left, right }: Placed): number {
  const room = right - left - c.measureText(text).width;
  return left + (room * (1 - side)) / 2;
}

function written(c: CanvasRenderingContext2D, text: string, x: number, y: number, colour: string, theme: Theme): void {
  c.strokeStyle = theme.paper;
  c.lineWidth = 4;
  c.globalAlpha = 0.9;
  c.strokeText(text, x, y);
  c.globalAlpha = 1;
  c.fillStyle = colour;
  c.fillText(text, x, y);
}

function line(c: CanvasRenderingContext2D, x: number, y: number, u: number, v: number, colour: string): void {
  c.beginPath();
  c.moveTo(x, y);
  c.lineTo(u, v);
  c.strokeStyle = colour;
  c.lineWidth = 1;
  c.stroke();
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
