/// Keys and terms, in a dialog.
import { useEffect, useRef } from 'preact/hooks';
import { KEYS } from './keys';
import { Symbol } from './math';
import { TERMS } from './terms';

export function Help({ open, version, onClose }: { open: boolean; version: string; onClose(): void }) {
  const dialog = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    if (!open) return dialog.current!.close();
    dialog.current!.showModal();
    dialog.current!.scrollTop = 0; // the focused button is at the end
  }, [open]);
  return (
    <dialog ref={dialog} onClose={onClose} aria-labelledby="help-title"
      onClick={e => e.target === e.currentTarget && onClose()}>
      <h2 id="help-title">Keys</h2>
      <dl>
        {KEYS.map(([keys, meaning]) => (
          <div key={keys}>
            <dt>{keys.split(' ').map(key => (key === '–' ? ' – ' : <kbd key={key}>{key}</kbd>))}</dt>
            <dd>{meaning}</dd>
          </div>
        ))}
      </dl>
      <h2>Terms</h2>
      <dl class="terms">
        {TERMS.map(([symbol, name, meaning]) => (
          <div key={symbol}><dt><Symbol name={symbol} /></dt><dd>{name}: {meaning}</dd></div>
        ))}
      </dl>
      <form method="dialog"><button class="close">Close</button><span class="version">steepest {version}</span></form>
    </dialog>
  );
}
