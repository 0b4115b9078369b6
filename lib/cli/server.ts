import { readOptions } from '../options.ts'
import { Reader } from '../postgres/reader.ts'
import type { Columns } from '../postgres/table.ts'
import type { Arguments, OptionSet } from './arguments.ts'
import type { Call } from './command.ts'
import { asFailure, UsageError } from './failure.ts'

/** Milliseconds without an answer after which a server counts as gone. */
export const TIMEOUT = 10_000

export const DATABASE: OptionSet = {
  database: { type: 'string', value: 'url', text: 'The database; default: DATABASE_URL' }
}

export const COLUMNS: OptionSet = {
  column: { type: 'string', multiple: true, value: 'purpose=name', text: 'Another column as id, run, level, message, timestamp or extra, as in run=job_id' }
}

/** @throws UsageError where there is none, or it is none */
export function databaseUrl ({ args, env }: Pick<Call, 'args' | 'env'>, option = 'database'): string {
  const given = args.text(option) ?? env.DATABASE_URL
  const name = args.given(option) ? `--${option}` : 'DATABASE_URL'
  if (!given) throw new UsageError('no database: give --database postgres://user:password@host:5432/database, or set DATABASE_URL')
  try {
    readOptions({ connectionString: given, table: 'any' }, {})
  } catch (error) {
    throw new UsageError(`${name} is no URL of a database: ${fix(error)}`)
  }
  return given
}

/** @throws UsageError */
export function readColumns (args: Arguments): Columns {
  const columns: Record<string, string | string[]> & { extra: string[] } = { extra: [] }
  for (const each of args.list('column')) {
    const [, purpose, name] = /^(id|run|level|message|timestamp|extra)=(.+)$/.exec(each) ?? []
    if (purpose === undefined) throw new UsageError(`--column is ${each}: give id, run, level, message, timestamp or extra, = and the column, as in run=job_id`)
    if (purpose === 'extra') columns.extra.push(name!)
    else columns[purpose] = name!
  }
  try {
    return readOptions({ connectionString: 'postgres://any', table: 'any', columns }, {}).tables.default!.columns
  } catch (error) {
    throw new UsageError(`--column: ${fix(error)}`)
  }
}

/** The half of an option's error that does not name the option, which has another name here. */
function fix (error: unknown): string {
  return (error as Error).message.split('; ').slice(1).join('; ')
}

/** One session, which is renewed by itself; Ctrl-C closes it. */
export function openServer (url: string, { signal }: Pick<Call, 'signal'>, name: string, timeout = TIMEOUT): Reader {
  const reader = new Reader(url, { name: `fastify-pg-tail ${name}`, timeout })
  signal.addEventListener('abort', () => reader.close(), { once: true })
  return reader
}

/** The same, for as long as `use` takes. @throws Failure where there is no session to be had */
export async function withServer<T> (url: string, call: Pick<Call, 'signal'>, name: string, use: (reader: Reader) => Promise<T>, timeout = TIMEOUT): Promise<T> {
  const reader = openServer(url, call, name, timeout)
  try {
    return await use(reader)
  } catch (error) {
    throw asFailure(error)
  } finally {
    await reader.close()
  }
}
