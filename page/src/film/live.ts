/// Live data: one EventSource for the page, whose frames are folded into the film.
import { fold, type Frame } from './fold';
import type { Film } from './film';

/**
 * Follows the stream that the film's script element names in `data-events`.
 *
 * The first frame is `set` at [] with the film so far, and a reconnect gets that again.
 *
 * @returns what ends it.
 */
export function follow(url: string, film: Film | null, show: (film: Film) => void): () => void {
  const source = new EventSource(url);
  let now = film;
  const take = (event: Frame['event']) => (message: MessageEvent<string>) => {
    now = fold(now, { event, ...JSON.parse(message.data) });
    show(now);
    if (!now.live) source.close();
  };
  source.addEventListener('set', take('set'));
  source.addEventListener('append', take('append'));
  return () => source.close();
}
