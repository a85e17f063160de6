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

/** So many columns of settings fit. */
const FEW = 3;

export function Settings({ comparison, tracks, theme, list }: SettingsProps) {
  const { groups, differing, same } = comparison;
  const narrow = useMedia('(max-width: 639px)');
  const rewinds = groups.map(({ runs }) => tracks.filter(track => runs.includes(track.id)).flatMap(track => track.events).filter(event => event.kind === 'rewind').length);
  const rows = rewinds.some(Boolean) ? [...differing, { name: 'rewinds', values: rewinds.map(String) }] : differing;
  const runs = (i: number) => groups[i].runs.map(run => (
    <span class="run" key={run}>{list ? <a href={`${list}runs/${encodeURIComponent(run)}`}>{run}</a> : run}</span>
  ));
  return (
    <section class="settings" aria-label="What differs">
      <h2>What differs</h2>
      {groups.length > FEW || (narrow && groups.length === FEW && rows.length > 3) ? (
        <ul>
          {groups.map(({ label }, i) => (
            <li key={label}>
              <Glyph member={i} colour={theme.members[i % 6]} /> <span class="runs">{runs(i)}</span>
              <p>{rows.map(({ name, values }) => `${name} ${values[i]}`).join(' · ')}</p>
            </li>
          ))}
        </ul>
      ) : (
        <table>
          <thead>
            <tr>
              <td />
              {groups.map((_, i) => <th scope="col" key={i}><Glyph member={i} colour={theme.members[i % 6]} /> <span class="runs">{runs(i)}</span></th>)}
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
