/// What differs between the runs, as a table; what is the same, in one sentence.
import type { Comparison } from './comparison';
import type { Track } from '../film/track';
import { Glyph } from '../ui/icons';
import { useMedia } from '../ui/document';
import type { Theme } from '../render/theme';

interface SettingsProps {
  comparison: Comparison;
  tracks: Track[];
  theme: Theme;
  list: string | null;
}

/** Characters at the end of an id that stay where a long one is cut. */
const TAIL = 5;

/** An id whose last characters stay in sight. */
const Id = ({ run }: { run: string }) => <><span>{run.slice(0, -TAIL)}</span><span class="tail">{run.slice(-TAIL)}</span></>;

/** So many columns of settings fit. */
const FEW = 3;

export function Settings({ comparison, tracks, theme, list }: SettingsProps) {
  const { groups, differing, same } = comparison;
  const narrow = useMedia('(max-width: 639px)');
  const rewinds = groups.map(({ runs }) => tracks.filter(track => runs.includes(track.id)).flatMap(track => track.events).filter(event => event.kind === 'rewind').length);
  const rows = rewinds.some(Boolean) ? [...differing, { name: 'rewinds', values: rewinds.map(String) }] : differing;
  const runs = (i: number) => groups[i].runs.map(run => (
    list ? <a class="run" key={run} title={run} aria-label={run} href={`${list}runs/${encodeURIComponent(run)}`}><Id run={run} /></a>
      : <span class="run" key={run} title={run}><Id run={run} /></span>
  ));
  return (
    <section class="settings" aria-label="What differs">
      <h2>What differs</h2>
      {groups.length > FEW || (narrow && groups.length === FEW) ? (
        <ul>
          {groups.map(({ label }, i) => (
            <li key={label}>
              <span class="whose"><Glyph member={i} colour={theme.members[i % 6]} /><span class="runs">{runs(i)}</span></span>
              <p>{rows.filter(({ values }) => values[i] !== '–').map(({ name, values }) => `${name} ${values[i]}`).join(' · ')}</p>
            </li>
          ))}
        </ul>
      ) : (
        <table>
          <thead>
            <tr>
              <td />
              {groups.map((_, i) => (
                <th scope="col" key={i}><span class="whose"><Glyph member={i} colour={theme.members[i % 6]} /><span class="runs">{runs(i)}</span></span></th>
              ))}
            </tr>
          </thead>
          <tbody>
            {rows.map(({ name, values }) => (
              <tr key={name}><th scope="row">{name}</th>{values.map((value, i) => <td key={i}>{value}</td>)}</tr>
            ))}
          </tbody>
        </table>
      )}
      <p class="same">{rows.length ? same : `Nothing differs but chance. ${same}`}</p>
    </section>
  );
}
