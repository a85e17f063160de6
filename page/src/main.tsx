/// Shows the film that is embedded in the document, or the one that comes by frames.
import './style.css';
import './layout.css';
import { render } from 'preact';
import { Compare } from './compare/compare';
import { App } from './ui/app';
import { embedded, type Film } from './film/film';
import { follow } from './film/live';

const root = document.getElementById('app')!;
const show = (film: Film): void => {
  document.title = `${film.title} · steepest`;
  render(film.comparison ? <Compare film={film} comparison={film.comparison} /> : <App film={film} />, root);
};

const film = embedded(document);
const events = document.getElementById('film')!.dataset.events;
if (film) show(film);
else root.textContent = events ? 'Waiting for the run…' : 'There is no film in this page.';
if (events) follow(events, film, show);
