import type { Row } from '../client/tail.ts'

export type Tone = 'debug' | 'info' | 'warning' | 'error' | 'other'

const TONES: Array<[RegExp, Tone]> = [
  [/^(?:trace|debug|verbose|silly|fine)/i, 'debug'],
  [/^(?:info|notice|log|success)/i, 'info'],
  [/^warn/i, 'warning'],
  [/^(?:err|fatal|crit|severe|panic|alert|emerg)/i, 'error']
]
const tones = new Map<string, Tone>()
/** What a row has anyway; the rest are columns of `columns.extra`. */
const OWN = new Set(['type', 'id', 'run_id', 'level', 'timestamp', 'message', 'truncated'])

export function toneOf (level: string): Tone {
  let tone = tones.get(level)
  if (tone === undefined) {
    tone = TONES.find(([names]) => names.test(level))?.[1] ?? 'other'
    // Levels are few, but anybody can write any.
    if (tones.size < 1000) tones.set(level, tone)
  }
  return tone
}

/** A row as it is kept: 200,000 of them have to fit into a tab. Or a note between rows: then it has no id. */
export class Entry {
  readonly id: string | null
  readonly run: string | null
  readonly level: string
  /** Milliseconds since 1970; NaN without one. */
  readonly time: number
  readonly text: string
  /** Its other columns, in one line. */
  readonly extra: string

  private constructor (id: string | null, run: string | null, level: string, time: number, text: string, extra: string) {
    this.id = id
    this.run = run
    this.level = level
    this.time = time
    this.text = text
    this.extra = extra
  }

  static note (text: string): Entry {
    return new Entry(null, null, '', NaN, text, '')
  }

  static of (row: Row): Entry {
    const { id, run_id: run, level, timestamp, message, truncated } = row
    const text = (message ?? '') + (truncated ? ' […]' : '')
    return new Entry(String(id), run === null ? null : String(run), level ?? '', timestamp === null ? NaN : Date.parse(timestamp), text, extraOf(row))
  }

  /** About: characters. */
  get size (): number {
    return this.text.length + this.extra.length + 100
  }

  matches (needle: RegExp): boolean {
    return needle.test(this.text) || (this.extra !== '' && needle.test(this.extra))
  }
}

function extraOf (row: Row): string {
  let extra = ''
  for (const key in row) {
    if (OWN.has(key) || row[key] === null) continue
    const value = row[key]
    extra += `${extra && ' '}${key}=${typeof value === 'string' ? value : JSON.stringify(value)}`
  }
  return extra
}
