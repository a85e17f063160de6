/// How each group ended: its value and interval on one axis, and a bracket around those that tie.
import { drawingOrder, type Comparison } from './comparison';
import { Glyph } from '../ui/icons';
import { linearTicks, logTicks, short } from '../ui/numbers';
import type { Theme } from '../render/theme';

export function Ends({ comparison, theme }: { comparison: Comparison; theme: Theme }) {
  const { groups, basis, samples, unit, tiers } = comparison;
  const order = drawingOrder(comparison);
  const { least, most, place } = axis(comparison);
  const ticks = (comparison.scale === 'log' ? logTicks : linearTicks)(least, most, 4).slice(0, 5);
  const kind = basis === 'samples' ? `95 % intervals, ${samples} samples` : basis === 'seeds' ? '95 % intervals over seeds' : 'without intervals';
  return (
    <section class="ends" aria-label="At the end">
      <h2>At the end <span>{kind}</span></h2>
      <div class="rows">
        <div class="ticks" aria-hidden="true" style={{ gridRow: `1 / ${order.length + 1}` }}>
          {ticks.map(v => (
            <i key={v} style={{ left: `${place(v)}%` }}><span>{unit ? `${short(100 * v)} %` : short(v)}</span></i>
          ))}
        </div>
        {order.map((i, row) => {
          const { label, value, lo, hi, text } = groups[i];
          const colour = theme.members[i % 6];
          return [
            <span key={`name ${i}`} class="name" style={{ gridRow: row + 1 }}>{label}</span>,
            <span key={`bar ${i}`} class="bar" style={{ gridRow: row + 1, color: colour }}>
              {lo !== null && hi !== null && <i class="interval" style={{ left: `${place(lo)}%`, width: `${place(hi) - place(lo)}%` }} />}
              {value !== null && <i class="value" style={{ left: `${place(value)}%` }}><Glyph member={i} colour={colour} /></i>}
            </span>,
            <b key={`text ${i}`} class="amount" style={{ gridRow: row + 1 }}
              aria-label={lo === null || hi === null ? text : `${text}, interval ${write(lo, unit)} to ${write(hi, unit)}`}>{text}</b>,
          ];
        })}
        {tiers.filter(tier => tier.length > 1).map(tier => {
          const first = order.indexOf(tier[0]) + 1;
          return <span key={tier[0]} class="tie" style={{ gridRow: `${first} / ${first + tier.length}` }}>tie</span>;
        })}
      </div>
    </section>
  );
}

const write = (v: number, unit: string): string => (unit ? `${short(100 * v)} %` : short(v));

/** The axis of the ends, in percent of its width. */
function axis({ groups, unit, scale }: Comparison): { least: number; most: number; place(v: number): number } {
  const marks = groups.flatMap(({ value, lo, hi }) => [value, lo, hi]).filter(v => v !== null);
  if (!marks.length) return { least: 0, most: 1, place: () => 0 };
  const isLog = scale === 'log' && Math.min(...marks) > 0;
  const turn = (v: number) => (isLog ? Math.log(v) : v);
  const [a, b] = [turn(Math.min(...marks)), turn(Math.max(...marks))];
  const room = (b - a || Math.abs(a) || 1) * 0.08;
  const [from, to] = [unit ? Math.max(0, a - room) : a - room, unit ? Math.min(1, b + room) : b + room];
  const back = (v: number) => (isLog ? Math.exp(v) : v);
  return { least: back(from), most: back(to), place: v => ((turn(v) - from) / (to - from)) * 100 };
}
