/// The numbers of a run: its metric, the test metric, its losses. While the film plays, those of its step.
import './result.css';
import type { Result } from '../film/film';
import { count, metricText, twoDigits } from './numbers';
import { Digits } from './math';
import { indexAt, valueAt, type Series, type Track } from '../film/track';

export function Results({ track, t, last }: { track: Track; t: number; last: number }) {
  const rows = t >= last ? track.result : track.result.map(row => rowAt(track, row, t));
  if (!rows.length) return null;
  return (
    <dl class={rows.length < 3 ? 'result two' : 'result'}>
      {rows.map(({ label, value, detail }) => (
        <div key={label}>
          <dt title={label}>{label}</dt>
          <dd><b class={value === '—' ? 'none' : undefined}><Digits text={value} /></b><small><Digits text={detail} /></small></dd>
        </div>
      ))}
    </dl>
  );
}

/** A row as it was at a step: what came later is not told. */
export function rowAt(track: Track, { label }: Result, t: number): Result {
  if (label.startsWith('Test')) return { label, value: '—', detail: 'at the end' };
  if (label.startsWith('Train')) {
    const validation = measuredAt(track.curves.held_out, t);
    return { label, value: loss(valueAt(track.curves.loss, t)), detail: validation && track.curves.metric ? `validation ${loss(validation.value)}` : '' };
  }
  const metric = track.metrics.metric;
  const now = measuredAt(track.curves[metric ? 'metric' : 'held_out'], t);
  if (!now) return { label, value: '—', detail: 'not measured yet' };
  return { label, value: metric ? metricText(metric, now.value) : loss(now.value), detail: `at step ${count(now.step)}` };
}

const loss = (v: number): string => (Number.isFinite(v) ? twoDigits(v) : Number.isNaN(v) ? 'NaN' : 'infinite');

/** The last measurement up to a step; null before the first. */
export function measuredAt(series: Series | undefined, t: number): { step: number; value: number } | null {
  const k = series ? indexAt(series.t, t) : -1;
  return k < 0 ? null : { step: series!.t[k], value: series!.mid[k] };
}
