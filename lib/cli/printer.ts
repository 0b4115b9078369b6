import type { LogRow } from '../row.ts'
import type { Style, Terminal } from './terminal.ts'

/** A row as it is shown, by whichever way it came. */
export interface ShownRow {
  id: number | string
  run_id: number | string | null
  level: string | null
  timestamp: string | null
  message: string | null
  truncated?: true
  cursor: string
  [extra: string]: unknown
}

const KNOWN = ['id', 'run_id', 'level', 'timestamp', 'message', 'truncated', 'cursor']
const LEVELS: Array<[RegExp, Style]> = [
  [/^(err|fatal|crit|alert|emerg|panic|severe)/i, 'red'],
  [/^warn/i, 'yellow'],
  [/^(info|notice|success)/i, 'green'],
  [/^(debug|trace|verbose|silly)/i, 'dim']
]

/** Sentences that are remembered, so as not to be repeated. */
const MAX_SAID = 100

/** Shows rows, one a line; what is not a row goes to stderr. */
export class Printer {
  readonly #terminal: Terminal
  readonly #inJson: boolean
  readonly #since: string | null
  /** Notes of the trouble of the moment. */
  readonly #said = new Set<string>()

  /** @param since older rows are not shown */
  constructor (terminal: Terminal, inJson: boolean, since: Date | null) {
    this.#terminal = terminal
    this.#inJson = inJson
    this.#since = since?.toISOString() ?? null
  }

  row (row: ShownRow): void {
    // Ids are no times: between rows that are new there may be one that is old.
    if (this.#since !== null && row.timestamp !== null && Date.parse(row.timestamp) < Date.parse(this.#since)) return
    if (this.#inJson) return this.#terminal.json(row)
    const { timestamp, level, run_id: run, message, truncated } = row
    const style = LEVELS.find(([pattern]) => pattern.test(level ?? ''))?.[1]
    const shown = (level ?? '-').padEnd(5)
    const extra = Object.entries(row).filter(([name]) => !KNOWN.includes(name)).map(([name, value]) => ` ${name}=${JSON.stringify(value)}`)
    this.#terminal.line(
      ['dim', timestamp ?? '-'.padEnd(24)], ' ', style === undefined ? shown : [style, shown], ' ', ['cyan', String(run ?? '-')], ' ',
      message ?? '', truncated ? ['dim', ' … (truncated)'] : '', ['dim', extra.join('')])
  }

  /** See Terminal. */
  get full (): boolean {
    return this.#terminal.full
  }

  drained (): Promise<void> {
    return this.#terminal.drained()
  }

  /** Something that is not a row. */
  note (text: string): void {
    this.#terminal.say(`-- ${text}`)
  }

  /** Something is wrong: said once, however often it is tried again. */
  trouble (text: string): void {
    if (this.#said.has(text)) return
    if (this.#said.size === MAX_SAID) this.#said.clear()
    this.#said.add(text)
    this.note(text)
  }

  /** It is well again. @returns whether it was not */
  recover (): boolean {
    const had = this.#said.size > 0
    this.#said.clear()
    return had
  }
}

/** A row of the plugin's own as the stream has it. */
export function shownRow ({ id, run, level, timestamp, message, truncated, cursor, ...extra }: LogRow): ShownRow {
  return { id, run_id: run, level, timestamp, message, ...truncated && { truncated }, ...extra, cursor }
}
