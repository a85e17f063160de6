/// A sheet over the page: beside the surface where there is room, else from below and modal. Focus moves in, and back.
import type { ComponentChildren } from 'preact';
import { useEffect, useRef } from 'preact/hooks';
import { BESIDE, useMedia } from './document';
import { Icon } from './icons';

export interface SheetProps {
  open: boolean;
  title: string;
  /** Its class, for its place. */
  name: string;
  onClose(): void;
  children: ComponentChildren;
}

export function Sheet({ open, title, name, onClose, children }: SheetProps) {
  const dialog = useRef<HTMLDialogElement>(null);
  const beside = useMedia(BESIDE);
  useEffect(() => {
    const sheet = dialog.current!;
    if (!open) return;
    const before = document.activeElement;
    if (beside) sheet.show();
    else sheet.showModal();
    sheet.scrollTop = 0;
    return () => {
      sheet.close();
      if (before instanceof HTMLElement) before.focus({ preventScroll: true });
    };
  }, [open, beside]);
  const outside = (e: MouseEvent & { currentTarget: HTMLElement }) => {
    const { left, right, top, bottom } = e.currentTarget.getBoundingClientRect();
    return e.clientX < left || e.clientX > right || e.clientY < top || e.clientY > bottom;
  };
  return (
    <dialog ref={dialog} class={`sheet ${name}`} aria-labelledby={`${name}-title`}
      onCancel={e => {
        e.preventDefault();
        onClose();
      }}
      onClick={e => e.target === e.currentTarget && e.detail > 0 && outside(e) && onClose()}>
      <div class="top">
        <h2 id={`${name}-title`}>{title}</h2>
        <button class="quiet" onClick={onClose} aria-label="Close"><Icon of="close" /></button>
      </div>
      {open && children}
    </dialog>
  );
}
