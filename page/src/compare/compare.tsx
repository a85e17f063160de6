/// The page of several runs: who ended best, if that is certain; their curves, ends, differences and settings.
import './compare.css';
import { useEffect, useMemo } from 'preact/hooks';
import { Chart } from './chart';
import { Ends } from './ends';
import { Pairs } from './pairs';
import { Settings } from './settings';
import type { Comparison } from './comparison';
import { listOf, type Film } from '../film/film';
import { tracksOf } from '../film/track';
import { Icon, Logo } from '../ui/icons';
import { useTheme } from '../ui/document';
import { coloured } from '../ui/verdict';

/** A command that breaks before its options only. */
const words = (command: string) => command.split(/(?= --)/).map((part, i) => [i > 0 && ' ', <span key={i}>{part.trim()}</span>]);

export function Compare({ film, comparison }: { film: Film; comparison: Comparison }) {
  const [theme, toggleTheme] = useTheme();
  const tracks = useMemo(() => tracksOf(film), [film]);
  const list = listOf(document);
  useEffect(() => {
    void document.fonts.ready.then(() => requestAnimationFrame(() => (document.documentElement.dataset.ready = '')));
  }, []);
  const { groups } = comparison;
  const names = groups.map(({ label }, i): [string, string] => [label, theme.names[i % 6]]);
  const count = tracks.length;
  return (
    <div class="compare">
      <header>
        {list ? <a class="mark" href={list}><Logo />steepest</a> : <span class="mark"><Logo />steepest</span>}
        {list && <a class="back" href={`${list}?${new URLSearchParams(tracks.map(({ id }) => ['run', id]))}`}>All runs</a>}
        <span class="title">compare {count}</span>
        {film.live && <span class="running">running</span>}
        <nav aria-label="Page">
          <button class="quiet" onClick={toggleTheme} aria-label={theme.name === 'dark' ? 'Light theme' : 'Dark theme'}>
            <Icon of={theme.name === 'dark' ? 'sun' : 'moon'} />
          </button>
        </nav>
      </header>
      <main>
        <h1 aria-live="polite">
          {coloured(film.headline.replaceAll(' %', '\u00a0%'), names).map(({ text, colour }, i) => <span key={i} style={colour ? { color: colour } : undefined}>{text}</span>)}
        </h1>
        <p class="lead">
          {film.advice} {comparison.command && <code>{words(comparison.command)}</code>}
        </p>
        <div class={comparison.metric ? 'columns' : 'columns without-ends'}>
          <section class="curves" aria-label="Curves">
            <Chart film={film} comparison={comparison} tracks={tracks} theme={theme} />
          </section>
          {comparison.metric && <Ends comparison={comparison} theme={theme} />}
          {comparison.metric && <Pairs comparison={comparison} />}
          <Settings comparison={comparison} tracks={tracks} theme={theme} list={list} />
        </div>
      </main>
    </div>
  );
}
