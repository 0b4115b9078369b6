import { holderNames, lockHolders } from '../postgres/look.ts'
import type { Reader } from '../postgres/reader.ts'
import type { Call } from './command.ts'
import { errorText, isTimeout, isUnreachable } from './failure.ts'
import { databaseUrl, withServer } from './server.ts'
import type { Line } from './terminal.ts'

interface Work<Target, Result> {
  act: (reader: Reader, target: Target) => Promise<Result>
  /** Besides the table, in JSON the result is shown as it is. */
  describe: (target: Target, result: Result) => Line[]
  isFine: (result: Result) => boolean
}

/**
 * One table after the other; one that fails is no reason to leave the others out.
 * @param targets table: null for everything
 * @returns the exit code
 * @throws what concerns all of them
 */
export async function each<Target extends { table: string | null }, Result extends object> (call: Call, name: string, targets: readonly Target[], { act, describe, isFine }: Work<Target, Result>): Promise<number> {
  const { args, terminal, signal } = call
  const done = await withServer(databaseUrl(call), call, name, async (reader) => {
    const all: Array<{ target: Target, result?: Result, error?: string }> = []
    for (const target of targets) {
      try {
        all.push({ target, result: await act(reader, target) })
      } catch (error) {
        if (signal.aborted || isUnreachable(error)) throw error
        all.push({ target, error: `${errorText(error)}${isTimeout(error) ? await whoLocks(reader, target.table) : ''}` })
      }
    }
    return all
  })
  if (args.flag('json')) terminal.json(done.map(({ target: { table }, result, error }) => ({ table, ...result, ...error !== undefined && { error } })))
  else {
    for (const { target, result, error } of done) {
      if (result === undefined) terminal.complain(`${target.table ?? 'everything'}: ${error}`)
      else for (const line of describe(target, result)) terminal.line(...line)
    }
  }
  return done.every(({ result }) => result !== undefined && isFine(result)) ? 0 : 1
}

/** What catalogs say of a table waits for whoever has locked it. */
async function whoLocks (reader: Reader, table: string | null): Promise<string> {
  if (table === null) return ''
  const holders = await reader.answer((sql) => lockHolders(sql, [table], { read: true })).catch(() => [])
  return holders.length === 0 ? '' : `; it is locked, or about to be, by ${holderNames(holders)}`
}
