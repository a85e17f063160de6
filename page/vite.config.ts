/// The page as one file with its script, style and fonts inline: files beside it would not load from file://.
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync, renameSync } from 'node:fs';
import { defineConfig, type Plugin } from 'vite';
import { viteSingleFile } from 'vite-plugin-singlefile';

const OUT = '../steepest/view/film';

/** What the page is made of; tests/page/test_built.py hashes the same files in the same order. */
function sources(): string {
  const inside = (folder: string, end: RegExp) =>
    readdirSync(folder, { recursive: true, encoding: 'utf8' })
      .filter(name => end.test(name))
      .map(name => `${folder}/${name.replaceAll('\\', '/')}`);
  const files = [
    'index.html', 'package-lock.json', 'package.json', 'tsconfig.json', 'vite.config.ts',
    '../steepest/view/render/constants.json',
    ...inside('fonts', /\.woff2$/), ...inside('src', /\.(ts|tsx|css)$/),
  ];
  const hash = createHash('sha256');
  for (const file of files.sort()) hash.update(`${file}\0`).update(readFileSync(file));
  return hash.digest('hex');
}

/** Writes the hash of the sources into the page, and names the page. */
function named(): Plugin {
  return {
    name: 'named',
    transformIndexHtml: html => html.replace('SOURCES', sources()),
    closeBundle: () => renameSync(`${OUT}/index.html`, `${OUT}/page.html`),
  };
}

export default defineConfig({
  plugins: [viteSingleFile(), named()],
  build: { target: 'es2022', outDir: OUT, emptyOutDir: false, assetsInlineLimit: 1e8, modulePreload: false },
});
