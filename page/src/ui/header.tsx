/// The top line: what this is, the way back to the list where there is one, the function likewise, and buttons.
import { Text } from './controls';
import { listOf, type Film } from '../film/film';
import { Icon, Logo } from './icons';
import type { Play } from '../play/play';
import type { Theme } from '../render/theme';

export interface HeaderProps {
  film: Film;
  play: Play | null;
  theme: Theme;
  title: string;
  mapped: boolean;
  helping: boolean;
  onTheme(): void;
  onMap(): void;
  onSave(): void;
  onHelp(): void;
  onEvents(): void;
}

export function Header({ film, play, theme, title, mapped, helping, onTheme, onMap, onSave, onHelp, onEvents }: HeaderProps) {
  const list = listOf(document);
  return (
    <header>
      <span class="mark"><Logo />steepest</span>
      {list && <a class="back" href={list}>All runs</a>}
      <span class="title">{title}{!play && film.subtitle && <span class="subtitle">{film.subtitle}</span>}</span>
      {film.live && <span class="running">running</span>}
      {play && <div class="function"><Text id="function" symbol="L(x, y) =" label="function of x and y" value={play.setup.source} onChange={play.setSource} /></div>}
      <nav aria-label="Page">
        <button class="quiet words" onClick={onHelp} aria-expanded={helping} aria-label="How to read this">
          <span>How to read this</span><b aria-hidden="true">?</b>
        </button>
        {!play && <button class="quiet narrow" onClick={onEvents} aria-label="Events" title="Events (E)"><Icon of="list" /></button>}
        <button class="quiet" onClick={onMap} aria-pressed={mapped} aria-label="Map instead of the relief" title="Map (C)"><Icon of="map" /></button>
        <button class="quiet" onClick={onTheme} aria-label={theme.name === 'dark' ? 'Light theme' : 'Dark theme'} title="Theme (T)">
          <Icon of={theme.name === 'dark' ? 'sun' : 'moon'} />
        </button>
        <button class="quiet" onClick={onSave} aria-label="Save as picture" title="Save as picture"><Icon of="save" /></button>
      </nav>
    </header>
  );
}
