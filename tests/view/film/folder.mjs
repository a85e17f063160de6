// Folds frames as the page does: lists of frames come as JSON, the film that each adds up to goes out.
import { readFileSync } from 'node:fs';
import { registerHooks } from 'node:module';
import { pathToFileURL } from 'node:url';

// The page's modules name each other without the ending, as its bundler wants it.
registerHooks({ resolve: (name, context, next) => next(/^\.\/\w+$/.test(name) ? `${name}.ts` : name, context) });

const { fold } = await import(pathToFileURL(process.argv[2]).href);
const films = JSON.parse(readFileSync(0, 'utf8')).map(frames => frames.reduce(fold, null));
process.stdout.write(JSON.stringify(films));
