/** What ECMA-48 begins with ESC: control sequences such as colours, strings such as titles and links, which end with BEL or ESC \, and the short ones. */
// eslint-disable-next-line no-control-regex
const SEQUENCES = /\u001b(?:\[[0-?]*[ -/]*[@-~]|[\]PX^_][^\u0007\u001b]*(?:\u0007|\u001b\\)|[ -/]*[0-OQ-WYZ\\`-~])/g
/** Those of colours: `\u001b[1;31m`. */
// eslint-disable-next-line no-control-regex
const COLOURS = /^\u001b\[([\d;]*)m$/
/** Where a terminal begins a line afresh, between what was and what comes. In this order: that of many together only the last one looks back. */
const RETURN = /\r(?=[^\r\n])(?<=[^\r\n]\r+)/g
/** A message may be nothing but colours. */
const MAX_STYLES = 200

/** From there on a text looks like that. */
export interface Style {
  from: number
  /** Names of classes; empty: as any. */
  classes: string
}

/** The text without what only a terminal understands. What is no whole sequence stays. */
export function plain (text: string): string {
  const shown = text.includes('\u001b') ? text.replace(SEQUENCES, '') : text
  // As long as before: styles have places in it.
  return shown.includes('\r') ? shown.replace(RETURN, '\n') : shown
}

/** How the first so many characters of the plain text look. */
export function stylesOf (text: string, length: number): Style[] {
  const styles: Style[] = []
  if (!text.includes('\u001b[')) return styles
  let removed = 0
  let look = PLAIN
  for (const { 0: sequence, index } of text.matchAll(SEQUENCES)) {
    const from = index - removed
    removed += sequence.length
    const codes = COLOURS.exec(sequence)?.[1]
    if (codes === undefined) continue
    if (from >= length) break
    const isLast = styles.length === MAX_STYLES - 1
    look = isLast ? PLAIN : lookAfter(look, codes.split(';').map(Number))
    styles.push({ from, classes: `${look.colour}${look.bold ? ' ansi-1' : ''}`.trim() })
    if (isLast) break
  }
  return styles
}

interface Look { colour: string, bold: boolean }

const PLAIN: Look = { colour: '', bold: false }

function lookAfter ({ colour, bold }: Look, codes: number[]): Look {
  for (let i = 0; i < codes.length; i++) {
    const code = codes[i]!
    if (code === 0) [colour, bold] = ['', false]
    else if (code === 1 || code === 22) bold = code === 1
    else if ((code >= 30 && code <= 37) || (code >= 90 && code <= 97)) colour = `ansi-${code}`
    // One of many is none of these.
    else if (code === 38 || code === 39) colour = ''
    // What follows are no codes: 5 and a number, or 2 and three of them.
    if (code === 38 || code === 48 || code === 58) i += codes[i + 1] === 5 ? 2 : codes[i + 1] === 2 ? 4 : 0
  }
  return { colour, bold }
}
