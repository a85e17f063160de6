// Keeps the list up to date: what changed is replaced in place, and no row moves under the pointer or the focus.
// Without this script the same links and forms lead to the same addresses.
'use strict';
(() => {
  const EVERY_MS = 2000, TYPING_MS = 250, SHARE = 10;
  const main = document.querySelector('main');
  const find = selector => main.querySelector(selector);
  let request = 0, timer = 0;

  // -- The page follows its address ---------------------------------------------------------------------------------

  /** Gets the list at the page's address, and shows what differs. */
  async function refresh(isAsked) {
    const mine = ++request, start = performance.now();
    clearTimeout(timer);
    try {
      const answer = await fetch('/list' + location.search, { credentials: 'same-origin' });
      if (!answer.ok) throw new Error(answer.statusText);
      const text = await answer.text();
      if (mine !== request) return;
      const next = new DOMParser().parseFromString(`<main>${text}</main>`, 'text/html').querySelector('main');
      next.querySelectorAll('noscript').forEach(element => element.remove());
      say('live', true);
      settle(next, isAsked);
    } catch {
      if (mine === request) say('not connected', false);
    }
    timer = setTimeout(() => document.hidden || refresh(false), Math.max(EVERY_MS, SHARE * (performance.now() - start)));
  }

  function say(words, isLive) {
    const place = find('.live');
    if (!place) return;
    place.classList.toggle('lost', !isLive);
    if (place.textContent !== words) place.textContent = words;
  }

  /** The rows' order stays while somebody points at them or is among them, unless they asked for another one. */
  function settle(next, isAsked) {
    const [old, fresh] = [main, next].map(root => root.querySelector('tbody'));
    const keys = body => [...body.rows].map(row => row.dataset.key).join('\n');
    const isBusy = old && (old.matches(':hover') || old.contains(document.activeElement));
    if (!isAsked && isBusy && fresh && keys(old) !== keys(fresh)) {
      const rows = new Map([...fresh.rows].map(row => [row.dataset.key, row]));
      fresh.replaceChildren(...[...old.rows].map(row => rows.get(row.dataset.key) ?? row.cloneNode(true)));
    }
    morph(main, next);
  }

  // -- Differences --------------------------------------------------------------------------------------------------

  const keyOf = node => (node.nodeType === 1 ? node.dataset.key ?? '' : '');

  /** Makes an element's attributes and children those of another one; elements with the same key stay the same. */
  function morph(old, next) {
    if ('keep' in old.dataset) return;
    for (const { name, value } of [...next.attributes]) if (old.getAttribute(name) !== value) old.setAttribute(name, value);
    for (const { name } of [...old.attributes]) if (!next.hasAttribute(name)) old.removeAttribute(name);
    if (old.tagName === 'INPUT') {
      if (old.type === 'checkbox') old.checked = next.checked;
      else if (old !== document.activeElement) old.value = next.value;
      return;
    }
    if (old.isEqualNode(next)) return;
    const keyed = new Map([...old.children].filter(child => child.dataset?.key !== undefined).map(c => [c.dataset.key, c]));
    let place = old.firstChild;
    for (const child of [...next.childNodes]) {
      const same = keyOf(child) ? keyed.get(keyOf(child)) : isAlike(place, child) ? place : null;
      if (!same) {
        old.insertBefore(document.importNode(child, true), place);
        continue;
      }
      if (same === place) place = place.nextSibling;
      else old.insertBefore(same, place);
      if (same.nodeType === 1) morph(same, child);
      else if (same.nodeValue !== child.nodeValue) same.nodeValue = child.nodeValue;
    }
    while (place) {
      const rest = place.nextSibling;
      place.remove();
      place = rest;
    }
    if (old.tagName === 'SELECT' && old !== document.activeElement) old.value = next.value;
  }

  const isAlike = (one, other) => one && one.nodeName === other.nodeName && !keyOf(one) && !keyOf(other);

  // -- What people do -----------------------------------------------------------------------------------------------

  /** Changes parameters of the address, and shows what is there. */
  function change(pairs, isStep) {
    const parameters = new URLSearchParams(location.search);
    parameters.delete('page');
    for (const [name, value] of Object.entries(pairs)) {
      parameters.delete(name);
      for (const one of [value].flat()) if (one) parameters.append(name, one);
    }
    const rest = String(parameters);
    const address = rest ? `/?${rest}` : '/';
    if (isStep) history.pushState(null, '', address);
    else history.replaceState(null, '', address);
    void refresh(true);
  }

  let typing = 0;
  main.addEventListener('input', event => {
    if (event.target.name !== 'q') return;
    clearTimeout(typing);
    typing = setTimeout(() => change({ q: event.target.value.trim() }, false), TYPING_MS);
  });
  main.addEventListener('change', event => {
    const { name, value, checked } = event.target;
    if (name === 'rule' || name === 'sort') change({ [name]: value }, true);
    if (name !== 'run') return;
    const rest = new URLSearchParams(location.search).getAll('run').filter(run => run !== value);
    const page = new URLSearchParams(location.search).get('page');
    change({ run: checked ? [...rest, value] : rest, page }, false);
  });
  main.addEventListener('click', event => {
    const link = event.target.closest?.('a[href]');
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey || event.button) return;
    const url = new URL(link.href);
    if (url.origin !== location.origin || url.pathname !== '/') return;
    event.preventDefault();
    history.pushState(null, '', url);
    void refresh(true).then(() => link.rel && scrollTo(0, 0));
  });
  main.addEventListener('submit', event => {
    event.preventDefault();
    const parameters = new URLSearchParams(location.search);
    if (new URL(event.target.action).pathname === '/') return change({ q: find('[name=q]').value.trim() }, true);
    location.href = `/compare?${new URLSearchParams(parameters.getAll('run').map(run => ['run', run]))}`;
  });
  addEventListener('popstate', () => {
    const search = find('[name=q]');
    if (search) search.value = new URLSearchParams(location.search).get('q') ?? '';
    void refresh(true);
  });
  addEventListener('keydown', event => {
    const search = find('[name=q]');
    if (!search || event.ctrlKey || event.metaKey || event.altKey) return;
    const isText = /^(INPUT|SELECT|TEXTAREA)$/.test(document.activeElement?.tagName ?? '') && document.activeElement.type !== 'checkbox';
    if (event.key === '/' && !isText) {
      event.preventDefault();
      search.focus();
      search.select();
    }
    if (event.key === 'Escape' && document.activeElement === search) {
      if (search.value) change({ q: search.value = '' }, false);
      else search.blur();
      event.preventDefault();
    }
  });
  document.addEventListener('visibilitychange', () => document.hidden || refresh(false));

  // -- The theme ----------------------------------------------------------------------------------------------------

  const button = document.querySelector('.theme');
  const system = matchMedia('(prefers-color-scheme: dark)');
  const isDark = () => (document.documentElement.dataset.theme ?? (system.matches ? 'dark' : 'light')) === 'dark';
  const label = () => (button.querySelector('span').textContent = isDark() ? 'Light theme' : 'Dark theme');
  button.hidden = false;
  button.addEventListener('click', () => {
    document.documentElement.dataset.theme = isDark() ? 'light' : 'dark';
    localStorage.setItem('steepest-theme', document.documentElement.dataset.theme);
    label();
  });
  label();
  document.documentElement.classList.add('scripted');
  if (main.dataset.list !== undefined) void refresh(false);
})();
