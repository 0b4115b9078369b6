import { errorText } from './failure.ts'

const STYLES = { bold: 1, dim: 2, red: 31, green: 32, yellow: 33, blue: 34, magenta: 35, cyan: 36 }

export type Style = keyof typeof STYLES
/** A text of whatever origin, or one that is shown in a style. */
export type Piece = string | readonly [Style, string]
export type Line = readonly Piece[]

/** What can drive a terminal, break a line, or turn the direction of what follows: also the C1 controls, which some take for ESC and more. */
const UNSAFE = /[\p{Cc}\p{Zl}\p{Zp}\p{Bidi_Control}]/gu
const NAMES: Record<string, string> = { '\n': '\\n', '\r': '\\r', '\t': '\\t' }

/** The text on one line, with nothing in it that a terminal obeys. */
export function harmless (text: string): string {
  return text.replace(UNSAFE, (character) => NAMES[character] ?? inHex(character))
}

function inHex (character: string): string {
  return `\\u${character.codePointAt(0)!.toString(16).padStart(4, '0')}`
}

export interface Screen {
  write (text: string): unknown
  /** It holds on to what it got, and says `drain` once it has passed it on. */
  writableNeedDrain?: boolean
  once? (event: 'drain', listener: () => void): unknown
  isTTY?: boolean
  columns?: number
  rows?: number
}

/** Where a command speaks: in colour and redrawn in place where that is a terminal, else as plain lines. */
export class Terminal {
  readonly #out: Screen
  readonly #complaints: Screen
  readonly #colours: boolean
  /** Whether lines can be drawn again in their place. */
  readonly canRedraw: boolean
  /** Lines of the last drawing. */
  #drawn = 0

  constructor (out: Screen, complaints: Screen, env: NodeJS.ProcessEnv) {
    this.#out = out
    this.#complaints = complaints
    this.canRedraw = out.isTTY === true && env.TERM !== 'dumb'
    this.#colours = this.canRedraw && !env.NO_COLOR
  }

  line (...pieces: Line): void {
    this.#out.write(this.#paint(pieces) + '\n')
  }

  /** Whether whoever reads the output is behind: what is written now piles up. */
  get full (): boolean {
    return this.#out.writableNeedDrain === true
  }

  /** Resolves once it is not. */
  drained (): Promise<void> {
    return new Promise((resolve) => {
      if (this.full) this.#out.once?.('drain', resolve)
      else resolve()
    })
  }

  /** Our own text as it is, such as SQL that another program reads. */
  text (text: string): void {
    this.#out.write(text)
  }

  /** One line of JSON, which a terminal cannot misread either. */
  json (value: unknown): void {
    this.#out.write(JSON.stringify(value, exactly).replace(UNSAFE, inHex) + '\n')
  }

  /** In place of what was drawn before; where that cannot be, below it. */
  redraw (lines: readonly Line[]): void {
    if (!this.canRedraw) {
      for (const line of lines) this.line(...line)
      this.line()
      return
    }
    // What does not fit cannot be gone back to.
    const room = Math.max(1, (this.#out.rows || 24) - 1)
    const shown = lines.length <= room ? lines : [...lines.slice(0, room - 1), [['dim', `… ${lines.length - room + 1} more lines: the window is too low`]] as Line]
    const up = this.#drawn > 0 ? `\x1b[${this.#drawn}A\r` : ''
    // Without wrapping a line takes one line, however wide its characters are.
    this.#out.write(`${up}\x1b[?7l${shown.map((line) => `${this.#paint(line)}\x1b[K\n`).join('')}\x1b[J\x1b[?7h`)
    this.#drawn = shown.length
  }

  /** To stderr: what does not belong to the output. */
  say (text: string): void {
    this.#complaints.write(harmless(text) + '\n')
  }

  /** To stderr, with who says it. */
  complain (error: unknown): void {
    this.say(`fastify-pg-tail: ${typeof error === 'string' ? error : errorText(error)}`)
  }

  #paint (pieces: Line): string {
    return pieces.map((piece) => {
      if (typeof piece === 'string') return harmless(piece)
      const [style, text] = piece
      return this.#colours && text !== '' ? `\x1b[${STYLES[style]}m${harmless(text)}\x1b[0m` : harmless(text)
    }).join('')
  }
}

/** Extra columns may hold them. */
function exactly (_key: string, value: unknown): unknown {
  return typeof value === 'bigint' ? String(value) : value
}
