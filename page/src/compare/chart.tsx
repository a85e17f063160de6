/// The runs' curves of one quantity, each named at its end; a step that is pointed at shows its values.
import { useMemo, useState } from 'preact/hooks';
import { lines, names, rangeOf, type Line, type Range } from './lines';
import { apart, type Comparison } from './comparison';
import type { Film } from '../film/film';
import { indexAt, type Track } from '../film/track';
import { useSize } from '../render/canvas';
import { outline } from '../render/glyph';
import type { Theme } from '../render/theme';
import { count, linearTicks, logTicks, short, tickText } from '../ui/numbers';

interface ChartProps {
  film: Film;
  comparison: Comparison;
  tracks: Track[];
  theme: Theme;
}

export function Chart({ film, comparison, tracks, theme }: ChartProps) {
  const [chosen, choose] = useState(0);
  const offered = useMemo(() => names(tracks, film.members), [film]);
  const name = offered[Math.min(chosen, offered.length - 1)];
  const shown = useMemo(() => (name ? lines(name, comparison, tracks, film.members) : []), [name, film]);
  if (!name) return <p class="quietly">No steps yet.</p>;
  const turn = (e: KeyboardEvent) => {
    const by = { ArrowRight: 1, ArrowLeft: -1 }[e.key];
    if (!by) return;
    e.preventDefault();
    const next = (offered.indexOf(name) + by + offered.length) % offered.length;
    choose(next);
    (e.currentTarget as HTMLElement).querySelectorAll('button')[next].focus();
  };
  return (
    <>
      <div class="quantities" role="tablist" aria-label="Quantity" onKeyDown={turn}>
        {offered.map((offer, i) => (
          <button key={offer.key} role="tab" id={`tab-${offer.key}`} aria-selected={offer === name} aria-controls="chart"
            tabIndex={offer === name ? 0 : -1} onClick={() => choose(i)}>{offer.title}</button>
        ))}
      </div>
      <div id="chart" role="tabpanel" aria-labelledby={`tab-${name.key}`}>
        <Plot lines={shown} steps={Math.max(1, film.steps)} percent={name.percent} range={rangeOf(shown, name, comparison)}
          title={name.title} theme={theme} />
      </div>
    </>
  );
}

interface PlotProps {
  lines: Line[];
  steps: number;
  percent: boolean;
  range: Range;
  title: string;
  theme: Theme;
}

const [TOP, BOTTOM, LABEL_PX, LEADER, TICK_PX, LETTER] = [12, 26, 17, 18, 46, 6.6];

function Plot({ lines, steps, percent, range, title, theme }: PlotProps) {
  const [box, width, height] = useSize();
  const [at, point] = useState<number | null>(null);
  const write = (v: number) => (percent ? `${short(100 * v)} %` : tickText(v, range.log));
  const ticks = (range.log ? logTicks : linearTicks)(range.lo, range.hi, Math.max(2, Math.round(height / 76)));
  const left = 14 + Math.max(3, ...ticks.map(v => write(v).length)) * LETTER;
  const longest = Math.max(0, ...lines.filter(line => line.isNamed).map(line => line.label.length));
  const right = Math.min(Math.max(134, width * 0.3), LEADER + longest * 7 + 4);
  const x = (t: number) => left + (t / steps) * (width - left - right);
  const y = (v: number) => {
    const share = range.log ? Math.log(v / range.lo) / Math.log(range.hi / range.lo) : (v - range.lo) / (range.hi - range.lo);
    return height - BOTTOM - share * (height - TOP - BOTTOM);
  };
  const ends = lines.filter(line => line.isNamed && line.end !== null);
  const clamp = (v: number) => Math.min(height - BOTTOM, Math.max(TOP, y(v)));
  const places = labelPlaces(ends.map(({ end }) => [x(end!.t), clamp(end!.value)]), right, height);
  const values = at === null ? [] : lines.filter(line => line.isNamed).map(line => ({ line, value: valueAt(line, at) }));
  const words = values.map(({ line, value }) => `${line.label} ${value === null ? '–' : say(value, percent)}`).join(', ');
  return (
    <>
      <p class="at-step" aria-hidden="true">
        {at === null ? `${title} against the step` : <><b>step {count(at)}</b> {values.map(({ line, value }) => (
          <span key={line.label} style={{ color: theme.names[line.member % 6] }}>{line.label} {value === null ? '–' : say(value, percent)}</span>
        ))}</>}
      </p>
      <div class="area" ref={box}>
        {width > 0 && (
          <svg width={width} height={height} role="img" aria-label={`${title} against the step`}>
            <clipPath id="inside"><rect x={left} y={TOP - 8} width={Math.max(0, width - left)} height={height - TOP - BOTTOM + 8} /></clipPath>
            {ticks.map(v => (
              <g key={v}>
                <path class="grid" d={`M${left} ${Math.round(y(v)) + 0.5}H${width - right}`} />
                <text x={left - 8} y={y(v) + 4} text-anchor="end">{write(v)}</text>
              </g>
            ))}
            {stepTicks(steps, width - left - right).map(t => (
              <text key={t} x={x(t)} y={height - 8} text-anchor={t === 0 ? 'start' : t === steps ? 'end' : 'middle'}>{count(t)}</text>
            ))}
            <g clip-path="url(#inside)">
              {lines.map((line, i) => (
                <g key={i} style={{ stroke: theme.members[line.member % 6] }} class={line.isAlone ? 'line' : 'line thin'}>
                  <path d={trace(line, x, y, true)} />
                  <path class="undone" d={trace(line, x, y, false)} />
                  <path class="gap" d={line.gaps.map(t => `M${x(t) - 3} ${height - BOTTOM - 9}l6 6m0 -6l-6 6`).join('')} />
                </g>
              ))}
            </g>
            {at !== null && <path class="cursor-line" d={`M${x(at)} ${TOP}V${height - BOTTOM}`} />}
            {ends.map((line, i) => {
              const [ex, ey] = [x(line.end!.t), clamp(line.end!.value)];
              return (
                <g key={line.label} class="end">
                  <path class="leader" d={`M${ex + 6} ${ey}L${ex + LEADER - 4} ${places[i]}`} stroke={theme.members[line.member % 6]} />
                  <path transform={`translate(${ex} ${ey})`} d={outline(line.member, 4.6)} fill={theme.members[line.member % 6]} />
                  <text class="name" x={ex + LEADER} y={places[i] + 4} style={{ fill: theme.names[line.member % 6] }}>{fit(line.label, right - LEADER)}</text>
                </g>
              );
            })}
          </svg>
        )}
        <input class="steps" type="range" min={0} max={steps} step={1} value={at ?? steps} aria-label="Step" aria-valuetext={`step ${count(at ?? steps)}${words && `; ${words}`}`}
          style={{ left: `${left - 8}px`, right: `${right - 8}px` }}
          onInput={e => point(Number(e.currentTarget.value))} onBlur={() => point(null)} onPointerLeave={() => point(null)}
          onPointerMove={e => {
            const { left: start, width: span } = e.currentTarget.getBoundingClientRect();
            point(Math.round(Math.min(1, Math.max(0, (e.clientX - start - 8) / (span - 16))) * steps));
          }} />
      </div>
    </>
  );
}

/** Where labels stand: those that end near one another are pushed apart, the others stay at their ends. */
function labelPlaces(ends: [x: number, y: number][], width: number, height: number): number[] {
  const places = ends.map(([, y]) => y);
  const order = ends.map((_, i) => i).sort((a, b) => ends[a][0] - ends[b][0]);
  let cluster: number[] = [];
  const settle = () => apart(cluster.map(i => ends[i][1]), LABEL_PX, TOP, height - BOTTOM).forEach((y, k) => (places[cluster[k]] = y));
  for (const i of order) {
    if (cluster.length && ends[i][0] - ends[cluster[cluster.length - 1]][0] > width) {
      settle();
      cluster = [];
    }
    cluster.push(i);
  }
  settle();
  return places;
}

/** A label in so many pixels; the whole one is in the table of ends. */
const fit = (label: string, room: number): string => {
  const letters = Math.floor(room / 7);
  return label.length <= letters ? label : `${label.slice(0, Math.max(1, letters - 6))}…${label.slice(-5)}`;
};

const say = (v: number, percent: boolean): string => (percent ? `${short(100 * v)} %` : short(v));

/** The value at a step: the last one that was measured. */
function valueAt({ t, values }: Line, at: number): number | null {
  const i = indexAt(t, at);
  return i < 0 || !Number.isFinite(values[i]) ? null : values[i];
}

/** Steps on the axis: first and last, and those between that have room. */
function stepTicks(steps: number, width: number): number[] {
  const inside = linearTicks(0, steps, Math.max(1, Math.floor(width / 90))).filter(t => Number.isInteger(t));
  const room = (TICK_PX * 1.3 * steps) / Math.max(1, width);
  return [0, ...inside.filter(t => t > room && t < steps - room), steps];
}

/** A line's path; its kept steps or those that were undone. A value that is no number is a gap. */
function trace(line: Line, x: (t: number) => number, y: (v: number) => number, kept: boolean): string {
  let [path, open] = ['', false];
  const { t, values } = line;
  for (let i = 0; i < t.length; i++) {
    const isThere = Number.isFinite(values[i]) && line.isKept(t[i]) === kept;
    if (!isThere) {
      open = false;
      continue;
    }
    const isJoined = open || (!kept && i > 0 && Number.isFinite(values[i - 1]));
    if (!open && isJoined) path += `M${x(t[i - 1]).toFixed(1)} ${y(values[i - 1]).toFixed(1)}`;
    path += `${isJoined ? 'L' : 'M'}${x(t[i]).toFixed(1)} ${y(values[i]).toFixed(1)}`;
    open = true;
  }
  return path;
}
