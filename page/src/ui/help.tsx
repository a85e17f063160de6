/// "How to read this": each part of the page in at most three lines, with a pin on it; symbols, and keys.
import { useEffect, useState } from 'preact/hooks';
import { BESIDE, useMedia } from './document';
import type { Film } from '../film/film';
import { KEYS } from './keys';
import { Digits, Symbol } from './math';
import { Sheet } from './sheet';
import { TERMS } from './terms';

/** A part of the page: where it is, where its pin stands in it (shares of its width and height), and what it says. */
interface Part {
  place: string;
  pin: [number, number];
  title: string;
  text: string;
}

export interface HelpProps {
  film: Film;
  title: string;
  surface: string | null;
  /** How far the path is from the surface's plane. */
  distance: string;
  open: boolean;
  onClose(): void;
}

export function Help({ film, title, surface, distance, open, onClose }: HelpProps) {
  const [pointed, point] = useState<number | null>(null);
  const parts = open ? partsOf(film, surface, distance) : [];
  return (
    <>
      <Sheet open={open} title="How to read this" name="read" onClose={onClose}>
        <p class="lead">{[title, film.subtitle].filter(Boolean).join(' · ')}</p>
        <p class="lead">Numbers mark the places on the page. Esc closes.</p>
        <ol class="reading">
          {parts.map(({ title, text }, i) => (
            <li key={title} onPointerEnter={() => point(i)} onPointerLeave={() => point(null)} onClick={() => point(i)}>
              <span class="pin" aria-hidden="true">{i + 1}</span>
              <div>
                <h3>{title}</h3>
                <p><Digits text={text} /></p>
              </div>
            </li>
          ))}
        </ol>
        <h3 class="part">Symbols</h3>
        <dl class="symbols">
          {TERMS.map(([symbol, name, meaning]) => (
            <div key={symbol}><dt><Symbol name={symbol} /></dt><dd>{name}: {meaning}</dd></div>
          ))}
        </dl>
        <h3 class="part">Keys</h3>
        <dl class="symbols keys">
          {KEYS.map(([keys, meaning]) => (
            <div key={keys}>
              <dt>{keys.split(' ').map(key => (key === '–' ? ' – ' : <kbd key={key}>{key}</kbd>))}</dt>
              <dd>{meaning}</dd>
            </div>
          ))}
        </dl>
        <p class="version">steepest {film.version}</p>
      </Sheet>
      {open && <Pins parts={parts} pointed={pointed} />}
    </>
  );
}

/** Numbers on the parts of the page, and a ring around the one that is pointed at. */
function Pins({ parts, pointed }: { parts: Part[]; pointed: number | null }) {
  const [, moved] = useState(0);
  const beside = useMedia(BESIDE);
  useEffect(() => {
    const again = () => moved(n => n + 1);
    again(); // what the sheet moves has moved
    addEventListener('resize', again);
    addEventListener('scroll', again, true);
    return () => {
      removeEventListener('resize', again);
      removeEventListener('scroll', again, true);
    };
  }, []);
  useEffect(() => {
    if (pointed !== null && !beside) document.querySelector(parts[pointed].place)?.scrollIntoView({ block: 'start' });
  }, [pointed]);
  return (
    <div class="pins" aria-hidden="true">
      {parts.map(({ place, pin: [across, down] }, i) => {
        const box = document.querySelector(place)?.getBoundingClientRect();
        if (!box?.width) return null;
        const [left, top] = [box.left + across * box.width, box.top + down * box.height];
        return [
          <span key={i} class="pin" style={{ left: `${left - 11}px`, top: `${top - 11}px` }}>{i + 1}</span>,
          pointed === i && <i key="ring" class="ring" style={{ left: `${box.left - 8}px`, top: `${box.top - 4}px`, width: `${box.width + 16}px`, height: `${box.height + 8}px` }} />,
        ];
      })}
    </div>
  );
}

/** What there is to say of a film's parts, in the order of reading. */
function partsOf(film: Film, surface: string | null, distance: string): Part[] {
  const shape = surface === null ? null : film.surfaces[surface];
  const terrain = shape?.kind === 'terrain';
  const members = Object.values(film.members);
  const all: (Part | false | null)[] = [
    shape && { place: '.scene', pin: [0.62, 0.6], title: 'The surface', text: terrain
      ? 'Height and colour are the function’s value; each line is the path of an update rule, dotted behind the surface. Drag to turn it.'
      : 'Height and colour are the loss on a slice: two directions out of all weights. The line is the path of the weights, projected on it.' },
    shape && { place: '.inset .map', pin: [0.1, 0.9], title: 'The same from above', text: 'Contours join points of equal loss: close lines, steep slope.' },
    shape && !terrain && { place: '.about', pin: [0, -0.4], title: 'What the slice leaves out', text: [shape.caption.replace(/[^.!?]$/, '$&.'), distance].filter(Boolean).join(' ') },
    { place: '.result', pin: [0.97, 0.1], title: 'The result', text: 'Where training ended. The range is a 95 % interval: few samples, wide range. The test set was used once, after training.' },
    members.length > 1 && { place: '.members', pin: [0.98, 0.05], title: 'Members', text: 'Each has a colour and a shape. Select one to see its formula.' },
    { place: '.chart.grow', pin: [0.98, 0.08], title: 'Curves', text: film.kind === 'run'
      ? 'Coloured line: training, a running median. Pale band: single batches. Circles: validation. Drag to move in time.'
      : 'Against the step, the selected member on top. Drag to move in time.' },
    members.some(member => member.verdict?.numbers.length) && { place: '.readings', pin: [0.98, 0.03], title: 'At the last step', text: 'Slope and curvature of the loss where training ended. Open a row for what it means and its interval.' },
    { place: '.lanes', pin: [0.03, 0.1], title: 'Time', text: 'The line runs over the steps; marks on it are events. Space plays; ← and → go one step.' },
  ];
  return all.filter((part): part is Part => !!part && document.querySelector(part.place) !== null);
}
