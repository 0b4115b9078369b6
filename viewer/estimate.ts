import type { Entry } from './entry.ts'

/** Characters of a message that are shown until somebody asks for all. */
export const MAX_SHOWN = 20_000
/** Pixels: of a note without its line, and of the button below what is shown of a long message. */
const NOTE = 8
const BUTTON = 34

/** What rows look like: measured on one of them. */
export interface Look {
  /** Characters in a line of a message. */
  columns: number
  /** Pixels of such a line. */
  line: number
  /** Pixels of a row without the lines of its message. */
  frame: number
}

/** Until a row has been measured. */
export const UNKNOWN: Look = { columns: 100, line: 20, frame: 2 }

/** About how many pixels high a row is. */
export function estimate (entry: Entry, { columns, line, frame }: Look, { wrap, whole }: { wrap: boolean, whole: boolean }): number {
  const { text, extraSize } = entry
  const cut = !whole && text.length > MAX_SHOWN
  const end = cut ? MAX_SHOWN : text.length
  let lines = 0
  for (let from = 0, to; from <= end; from = to + 1) {
    to = text.indexOf('\n', from)
    if (to === -1 || to > end) to = end
    lines += wrap ? Math.max(1, Math.ceil((to - from + (to === end ? extraSize : 0)) / columns)) : 1
  }
  return lines * line + (entry.isNote ? NOTE : frame) + (cut ? BUTTON : 0)
}
