import type { Row } from '../client/messages.ts'
import { plain, stylesOf, type Style } from './ansi.ts'

export type Tone = 'debug' | 'info' | 'warning' | 'error' | 'other'

const TONES: Array<[RegExp, Tone]> = [
  [/^(?:trace|debug|verbose|silly|fine)/i, 'debug'],
  [/^(?:info|notice|log|success)/i, 'info'],
  [/^warn/i, 'warning'],
  [/^(?:err|fatal|crit|severe|panic|alert|emerg)/i, 'error']
]
const tones = new Map<string, Tone>()

export function toneOf (level: string): Tone {
  let tone = tones.get(level)
  if (tone === undefined) {
    tone = TONES.find(([names]) => names.test(level))?.[1] ?? 'other'
    // Levels are few, but anybody can write any.
    if (tones.size < 1000) tones.set(level, tone)
  }
  return tone
}

/** A row as it is kept: 200,000 of them have to fit into a tab. Or a note between rows. */
export class Entry {
  /** Null: it is a note. */
  readonly id: Row['id'] | null
  readonly run: Row['run_id']
  /** Milliseconds since 1970; NaN without one. */
  readonly time: number
  readonly #level: string | null
  readonly #message: string | null
  readonly #truncated: boolean
  /** Its other columns, as JSON; empty without any. */
  readonly #extra: string

  private constructor (id: Row['id'] | null, row: Pick<Row, 'run_id' | 'level' | 'timestamp' | 'message' | 'truncated'>, extra: string) {
    this.id = id
    this.run = row.run_id
    this.time = row.timestamp === null ? NaN : Date.parse(row.timestamp)
    this.#level = row.level
    this.#message = row.message
    this.#truncated = row.truncated === true
    this.#extra = extra
  }

  static note (text: string): Entry {
    return new Entry(null, { run_id: null, level: null, timestamp: null, message: text }, '')
  }

  static of (row: Row): Entry {
    const { type, id, run_id: run, level, timestamp, message, truncated, ...extra } = row
    return new Entry(id, row, Object.keys(extra).length > 0 ? JSON.stringify(extra) : '')
  }

  get isNote (): boolean {
    return this.id === null
  }

  /** Empty without one. */
  get level (): string {
    return this.#level ?? ''
  }

  /** About: characters. */
  get size (): number {
    return (this.#message?.length ?? 0) + this.#extra.length + 100
  }

  /** Its message, as it is shown. */
  get text (): string {
    return plain(this.#message ?? '') + (this.#truncated ? ' […]' : '')
  }

  /** How the first so many characters of its text look. */
  stylesOf (length: number): Style[] {
    return stylesOf(this.#message ?? '', length)
  }

  /** About how many characters `extra` has. */
  get extraSize (): number {
    return this.#extra.length
  }

  /** Its other columns in one line, as they are shown. */
  get extra (): string {
    if (this.#extra === '') return ''
    return Object.entries(JSON.parse(this.#extra)).filter(([, value]) => value !== null).map(([name, value]) =>
      `${name}=${typeof value === 'string' ? plain(value) : JSON.stringify(value)}`).join(' ')
  }

  matches (needle: RegExp): boolean {
    return needle.test(this.text) || (this.#extra !== '' && needle.test(this.extra))
  }

  /** As the stream has it. */
  toJSON (): object {
    return {
      id: this.id,
      run_id: this.run,
      level: this.#level,
      timestamp: Number.isNaN(this.time) ? null : new Date(this.time).toISOString(),
      message: this.#message,
      ...this.#truncated && { truncated: true },
      ...this.#extra !== '' && JSON.parse(this.#extra)
    }
  }
}
