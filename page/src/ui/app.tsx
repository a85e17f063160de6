/// The page: a headline above a relief, members and curves beside it, the film's clock below.
import { useEffect, useMemo, useRef, useState } from 'preact/hooks';
import { Aside } from './aside';
import { Charts } from './charts';
import { useTheme } from './document';
import { EventSheet } from './events';
import { fieldOf, refined } from '../render/field';
import { happenings } from '../film/events';
import type { Film } from '../film/film';
import { Header } from './header';
import { Help } from './help';
import { keptOnly, keptSteps } from '../film/kept';
import { actionOf, focusOf, type Action } from './keys';
import { usePlay, type Play } from '../play/play';
import { savePicture } from '../render/picture';
import { usePlayer } from './player';
import { distance, Scene } from './scene';
import { HiddenTable } from './table';
import { headline, headlineAt, type Part } from '../play/headline';
import { playable } from '../play/take';
import { Timeline } from './timeline';
import { tracksOf, type Track } from '../film/track';
import { coloured, placeIn, sentenceAt, Verdict, type Piece } from './verdict';
import type { Theme } from '../render/theme';

export function App({ film }: { film: Film }) {
  const surface = useMemo(() => playable(film), [film]);
  return surface === null ? <Recorded film={film} /> : <Played film={film} surface={surface} />;
}

/** A run or a race: everything is in the film. */
function Recorded({ film }: { film: Film }) {
  const [selected, select] = useState(0);
  return <Page film={film} play={null} selected={selected} onSelect={select} />;
}

/** A play: the page descends by itself. */
function Played({ film, surface }: { film: Film; surface: string }) {
  const [selected, select] = useState(0);
  const play = usePlay(film, surface, selected);
  return <Page film={film} play={play} selected={selected} onSelect={select} />;
}

interface PageProps {
  film: Film;
  play: Play | null;
  selected: number;
  onSelect(member: number): void;
}

function Page({ film, play, selected, onSelect }: PageProps) {
  const [theme, toggleTheme] = useTheme();
  const [mapped, setMapped] = useState(false);
  const [helping, setHelping] = useState(false);
  const [listing, setListing] = useState(false);
  const [fold, setFold] = useState(false);
  const [unfolded, unfold] = useState(false);
  const [chosen, choose] = useState<string | null>(null);
  const names = Object.keys(film.surfaces);
  const surface = chosen !== null && names.includes(chosen) ? chosen : names[0] ?? null;
  const taken = useMemo(() => tracksOf(film), [film]);
  const undone = taken.some(track => track.attempts.length > 0);
  const folded = undone ? fold : null;
  const recorded = useMemo(() => (folded ? taken.map(keptOnly) : taken), [taken, folded]);
  const tracks = play?.shown.tracks ?? recorded;
  const shape = surface === null ? undefined : film.surfaces[surface];
  const field = useMemo(() => play?.ground.field ?? (shape && refined(fieldOf(shape))) ?? null, [shape, play?.ground]);
  const steps = Math.max(1, folded ? Math.max(...taken.map(track => keptSteps(track.attempts, film.steps))) : film.steps);
  const reached = film.live ? Math.max(1, ...tracks.map(track => track.last)) : steps;
  const player = usePlayer(reached, reached);
  const bare = field === null;
  const page = useRef<HTMLDivElement>(null);

  useAutoplay(film, player.play);
  useKeys(action => {
    switch (action.do) {
      case 'play': return player.toggle();
      case 'first': return player.seek(0);
      case 'last': return player.seek(steps);
      case 'step': return player.step(action.by);
      case 'member': return action.index < tracks.length ? onSelect(action.index) : undefined;
      case 'theme': return toggleTheme();
      case 'map': return setMapped(on => !on);
      case 'help': return setHelping(on => !on);
      case 'events': return setListing(on => !on);
      case 'kept': return setFold(on => !on);
      case 'event': return seekEvent(tracks, player.t, action.by, player.seek);
      case 'close': return listing ? setListing(false) : setHelping(false);
    }
  });
  useReady();
  useEffect(() => {
    if (play) document.title = `${play.title === film.title ? film.title : play.setup.source} · steepest`;
  }, [play?.setup.source]);

  // Memoised: it does not change while the film plays.
  const advice = play ? play.advice : film.advice;
  const pieces = useMemo(() => sentence(film, play, theme, taken), [film, play?.shown, theme, taken]);
  const before = player.t < reached ? sentenceSoFar(film, play, theme, tracks, player.t, steps) : null;
  const verdict = useMemo(() => <Verdict pieces={pieces} advice={advice} now={before} />, [pieces, advice, JSON.stringify(before)]);
  const onStart = play && ((x: number, y: number) => {
    play.setStart(x, y);
    player.play();
  });
  return (
    <div class={`page ${film.kind}${bare ? ' bare' : ''}`} ref={page} style={{ '--c': theme.members[selected % 6], '--name': theme.names[selected % 6] }}>
      <Header film={film} play={play} theme={theme} title={play?.title ?? film.title} mapped={mapped} helping={helping} onTheme={toggleTheme} onMap={() => setMapped(on => !on)}
        onHelp={() => setHelping(on => !on)} onEvents={() => setListing(true)} onSave={() => savePicture(page.current!.querySelector('.stage, .map')!, theme.paper, film.title)} />
      <main>
        <section class="left" aria-label="Surface and paths">
          <div class={unfolded ? 'saying unfolded' : 'saying'}>
            {verdict}
            {advice && <button class="unfold" onClick={() => unfold(on => !on)} aria-expanded={unfolded}>{unfolded ? 'less' : 'more'}</button>}
          </div>
          <Scene film={film} surface={surface} field={field} tracks={tracks} marks={play?.ground.marks ?? shape?.marks ?? []}
            t={player.t} last={steps} selected={selected} theme={theme} mapped={mapped}
            onStart={onStart} onSurface={choose} />
          {bare && <Charts tracks={tracks} t={player.t} steps={steps} selected={selected} theme={theme} onSeek={player.seek} />}
        </section>
        <Aside film={film} play={play} tracks={tracks} t={player.t} steps={steps} selected={selected} theme={theme}
          onSelect={onSelect} onSeek={player.seek} charts={!bare} />
      </main>
      <Timeline tracks={tracks} steps={steps} player={player} selected={selected} theme={theme} live={film.live}
        folded={folded} onFold={setFold} onEvents={() => setListing(true)} />
      {useMemo(() => <HiddenTable tracks={tracks} steps={steps} />, [tracks, steps])}
      <EventSheet tracks={tracks} t={player.t} theme={theme} open={listing} folded={folded} onSeek={player.seek} onFold={setFold}
        onClose={() => setListing(false)} />
      <Help film={film} title={play?.title ?? film.title} surface={surface} distance={helping && surface !== null ? distance(tracks[selected], surface, player.t) : ''} open={helping} onClose={() => setHelping(false)} />
    </div>
  );
}

/** Rules whose names are common nouns. */
const COMMON = ['gradient_descent', 'momentum'];

/** The headline with its colours. */
function sentence(film: Film, play: Play | null, theme: Theme, tracks: Track[]): Piece[] {
  if (play) return inColours(headline(play.shown.tracks, play.ground.least), film, theme);
  const names = Object.values(film.members).map(({ name }, i): [string, string] => [name, theme.names[i % 6]]);
  return coloured(film.headline, film.kind === 'run' ? placeIn(film.headline, theme.names[0], tracks[0]) : names);
}

/** What can be said at a step before the end. */
function sentenceSoFar(film: Film, play: Play | null, theme: Theme, tracks: Track[], t: number, steps: number): Piece[] | null {
  if (play) return inColours(headlineAt(tracks, t), film, theme);
  return film.kind === 'run' ? sentenceAt(tracks[0], t, steps, theme.names[0]) : null;
}

function inColours(parts: Part[], film: Film, theme: Theme): Piece[] {
  const members = Object.values(film.members);
  return parts.map(part => {
    if (typeof part === 'string') return { text: part };
    const { name, rule } = members[part.member];
    return { text: !part.initial && COMMON.includes(rule) ? name.toLowerCase() : name, colour: theme.names[part.member % 6] };
  });
}

/** Goes to the next or the previous event. */
function seekEvent(tracks: Track[], t: number, by: number, seek: (t: number) => void): void {
  const steps = happenings(tracks).map(({ event }) => event.t);
  const to = by > 0 ? steps.find(step => step > t) : steps.findLast(step => step < Math.floor(t));
  if (to !== undefined) seek(to);
}

/** Films play by themselves, unless the reader prefers reduced motion or the run is live. */
function useAutoplay(film: Film, play: () => void): void {
  useEffect(() => {
    if (!film.live && !matchMedia('(prefers-reduced-motion: reduce)').matches) play();
  }, []);
}

/** Does what keys mean, unless a focused control wants them. */
function useKeys(act: (action: Action) => void): void {
  useEffect(() => {
    const press = (e: KeyboardEvent) => {
      const action = actionOf(e, focusOf(document.activeElement));
      if (!action) return;
      e.preventDefault();
      act(action);
    };
    addEventListener('keydown', press);
    return () => removeEventListener('keydown', press);
  });
}

/** Says on the document when the page is there, fonts and all. */
function useReady(): void {
  useEffect(() => {
    void document.fonts.ready.then(() => requestAnimationFrame(() => (document.documentElement.dataset.ready = '')));
  }, []);
}
