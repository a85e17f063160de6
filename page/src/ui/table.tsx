/// The curves as a table, for screen readers.
import { count, decimal, metricText } from './numbers';
import { measuredAt } from './result';
import { lossAt, valueAt, type Track } from '../film/track';

const ROWS = 20;

/** What is measured now and then, with its text at a step. */
function measuredOf({ curves, metrics }: Track): { key: string; name: string; text(t: number): string }[] {
  const column = (key: string, name: string, written: (v: number) => string) => {
    const text = (t: number) => {
      const now = measuredAt(curves[key], t);
      return now ? written(now.value) : '—';
    };
    return { key, name, text };
  };
  return [
    ...(curves.held_out ? [column('held_out', 'validation loss', decimal)] : []),
    ...Object.entries(metrics).map(([key, metric]) => column(key, `validation ${metric.name}`, v => metricText(metric, v))),
  ];
}

export function HiddenTable({ tracks, steps }: { tracks: Track[]; steps: number }) {
  const at = [...new Set(Array.from({ length: ROWS + 1 }, (_, i) => Math.round((steps * i) / ROWS)))];
  return (
    <div class="hidden">
      <table>
        <caption>Losses, metric and learning rate of each run</caption>
        <thead>
          <tr>
            <th scope="col">step</th>
            {tracks.flatMap(track => [
              <th scope="col" key={`${track.id} loss`}>{track.name}, loss</th>,
              ...measuredOf(track).map(({ key, name }) => <th scope="col" key={`${track.id} ${key}`}>{track.name}, {name}</th>),
              <th scope="col" key={`${track.id} rate`}>{track.name}, learning rate</th>,
            ])}
          </tr>
        </thead>
        <tbody>
          {at.map(t => (
            <tr key={t}>
              <th scope="row">{count(t)}</th>
              {tracks.flatMap(track => (t > track.last ? [
                <td key={`${track.id} loss`}>ended</td>, ...measuredOf(track).map(({ key }) => <td key={`${track.id} ${key}`} />), <td key={`${track.id} rate`} />,
              ] : [
                <td key={`${track.id} loss`}>{decimal(lossAt(track, t))}</td>,
                ...measuredOf(track).map(({ key, text }) => <td key={`${track.id} ${key}`}>{text(t)}</td>),
                <td key={`${track.id} rate`}>{decimal(valueAt(track.curves.lr, t))}</td>,
              ]))}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}
