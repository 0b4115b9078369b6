import { parseArgs } from 'node:util'
import { MAX_TIMER } from '../checks.ts'
import type { Command } from './command.ts'
import { UsageError, withoutPasswords } from './failure.ts'

export interface Option {
  type: 'string' | 'boolean'
  short?: string
  /** May be given several times. */
  multiple?: boolean
  /** What stands for the value in the help. */
  value?: string
  /** What it does, in the help. */
  text: string
}

export type OptionSet = Record<string, Option>

export const HELP: OptionSet = { help: { type: 'boolean', short: 'h', text: 'Show this' } }

/** What was typed behind a command. */
export class Arguments {
  /** What is no option: tables. */
  readonly names: string[]
  readonly #values: Record<string, unknown>

  /** @throws UsageError */
  constructor (args: string[], options: OptionSet, takesNames: Command['takesNames']) {
    try {
      const known = Object.fromEntries(Object.entries(options).map(([name, { type, short, multiple = false }]) =>
        [name, { type, multiple, ...short !== undefined && { short } }]))
      const { values, positionals } = parseArgs({ args: withNumbers(args, options), options: known, allowPositionals: true, strict: true })
      this.#values = values
      this.names = [...(takesNames === 'several' ? this.list('table') : []), ...positionals]
    } catch (error) {
      const { code = '', message } = error as { code?: string, message: string }
      if (!code.startsWith('ERR_PARSE_ARGS')) throw error
      // The rest is about arguments that begin with a dash.
      throw new UsageError(withoutPasswords(message.split(/\. (?:To specify|Did you forget)|\n/)[0]!))
    }
    if (takesNames === 'one') this.#takeTable()
    for (const [name, value] of Object.entries(this.#values)) {
      if ([value].flat().includes('')) throw new UsageError(`--${name} is empty: give a value`)
    }
  }

  /** `tail public.log` is `tail --table public.log`. */
  #takeTable (): void {
    const [table, ...others] = this.names
    if (table === undefined) return
    if (table.includes('://')) throw new UsageError(`Unexpected argument '${withoutPasswords(table)}': give a URL by --database or --url`)
    if (others.length > 0) throw new UsageError(`Unexpected argument '${withoutPasswords(others[0]!)}': give one table`)
    if (this.given('table')) throw new UsageError(`Unexpected argument '${table}': --table names a table already`)
    this.#values['table'] = table
  }

  flag (name: string): boolean {
    return this.#values[name] === true
  }

  text (name: string): string | undefined {
    return this.#values[name] as string | undefined
  }

  list (name: string): string[] {
    return (this.#values[name] ?? []) as string[]
  }

  given (name: string): boolean {
    return this.#values[name] !== undefined
  }

  /** One of some words. @throws UsageError */
  word<const T extends string> (name: string, words: readonly T[], otherwise: T): T {
    const text = this.text(name) ?? otherwise
    if (words.includes(text as T)) return text as T
    throw new UsageError(`--${name} is ${text}: give one of ${words.join(', ')}`)
  }

  /** @throws UsageError */
  integer (name: string, max: number): number | undefined {
    const text = this.text(name)
    if (text === undefined) return undefined
    if (!/^\d+$/.test(text) || Number(text) > max) throw new UsageError(`--${name} is ${text}: give an integer from 0 to ${max}`)
    return Number(text)
  }

  /** Seconds, as milliseconds. @throws UsageError */
  seconds (name: string, otherwise: number): number {
    const text = this.text(name)
    const ms = text === undefined ? otherwise * 1000 : Math.round(Number(text) * 1000)
    if (!(ms >= 1 && ms <= MAX_TIMER)) throw new UsageError(`--${name} is ${text}: give seconds, such as ${otherwise} or 0.5`)
    return ms
  }

  /** Those of the names that were given; they do not go with something else. @throws UsageError */
  refuse (names: readonly string[], why: string): void {
    for (const name of names) if (this.given(name)) throw new UsageError(`--${name} ${why}`)
  }
}

/** A number below zero belongs to the option before it, which says what is wrong with it. */
function withNumbers (args: readonly string[], options: OptionSet): string[] {
  const joined: string[] = []
  for (const [i, arg] of args.entries()) {
    if (arg === '--') return [...joined, ...args.slice(i)]
    const before = joined.at(-1) ?? ''
    const option = Object.entries(options).find(([name, { type, short }]) => type === 'string' && (before === `--${name}` || (short !== undefined && before === `-${short}`)))
    if (option !== undefined && /^-\d/.test(arg)) joined[joined.length - 1] = `--${option[0]}=${arg}`
    else joined.push(arg)
  }
  return joined
}
