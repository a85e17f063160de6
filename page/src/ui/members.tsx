/// The members: one is selected, all show their loss at the film's step.
import { Glyph } from './icons';
import { Digits } from './math';
import { count, twoDigits } from './numbers';
import type { Theme } from '../render/theme';
import { lossAt, type Track } from '../film/track';

export interface MembersProps {
  tracks: Track[];
  t: number;
  selected: number;
  theme: Theme;
  onSelect(member: number): void;
}

export function Members({ tracks, t, selected, theme, onSelect }: MembersProps) {
  return (
    <div class="members" role="radiogroup" aria-label="Runs">
      {tracks.map((track, i) => (
        <label key={track.id} class={i === selected ? 'member on' : 'member'}>
          <input type="radio" name="member" checked={i === selected} onChange={() => onSelect(i)} />
          <Glyph member={i} colour={theme.members[i % 6]} />
          <span class="name">{track.name}</span>
          <span class="loss"><Digits text={twoDigits(lossAt(track, Math.min(t, track.last)))} /></span>
          <Status track={track} t={t} />
        </label>
      ))}
    </div>
  );
}

/** How it ended, from the step at which that is known. */
function Status({ track, t }: { track: Track; t: number }) {
  const { ending, verdict } = track;
  if (ending && t >= ending.step) {
    if (ending.kind === 'reached') return <span class="status">reached at {count(ending.step)}</span>;
    if (ending.kind === 'moving') return <span class="status">still moving</span>;
    return <span class="status bad">{ending.kind === 'diverged' ? 'diverged' : 'no value'}</span>;
  }
  const target = track.events.find(event => event.kind === 'target' && event.t <= t);
  if (target) return <span class="status">reached at {count(target.t)}</span>;
  const diverged = track.events.find(event => event.kind === 'diverged' && event.t <= t);
  if (diverged || (verdict?.kind === 'DIVERGED' && t >= track.last)) return <span class="status bad">diverged</span>;
  return <span class="status">{verdict && t >= track.last ? verdict.kind.toLowerCase().replaceAll('_', ' ') : ''}</span>;
}
