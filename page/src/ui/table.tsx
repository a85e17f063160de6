/// The curves as a table, for screen readers.
import { count, decimal } from './numbers';
import { lossAt, valueAt, type Track } from '../film/track';

const ROWS = 20;

export function HiddenTable({ tracks, steps }: { tracks: Track[]; steps: number }) {
  const at = [...new Set(Array.from({ length: ROWS + 1 }, (_, i) => Math.round((steps * i) / ROWS)))];
  return (
    <div class="hidden">
      <table>
        <caption>Loss and learning rate of each run</caption>
        <thead>
          <tr>
            <th scope="col">step</th>
            {tracks.flatMap(track => [
              <th scope="col" key={`${track.id} loss`}>{track.name}, loss</th>,
              <th scope="col" key={`${track.id} rate`}>{track.name}, learning rate</th>,
            ])}
          </tr>
        </thead>
        <tbody>
          {at.map(t => (
            <tr key={t}>
              <th scope="row">{count(t)}</th>
              {tracks.flatMap(track => (t > track.last ? [<td key={`${track.id} loss`}>ended</td>, <td key={`${track.id} rate`} />] : [
                <td key={`${track.id} loss`}>{decimal(lossAt(track, t))}</td>,
                <td key={`${track.id} rate`}>{decimal(valueAt(track.curves.lr, t))}</td>,
              ]))}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}
