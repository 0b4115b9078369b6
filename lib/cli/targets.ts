import { LOCK_TIMEOUT, type InstallTarget } from '../postgres/install.ts'
import { readOptions } from '../options.ts'
import type { Arguments, OptionSet } from './arguments.ts'
import { UsageError } from './failure.ts'

export const TABLES: OptionSet = {
  table: { type: 'string', multiple: true, value: 'table', text: 'A log table, in place of its name alone' }
}

export const TARGET: OptionSet = {
  runs: { type: 'string', value: 'table', text: 'The table of runs, so that the end of a run rings, too' },
  channel: { type: 'string', value: 'name', text: 'The channel that the trigger notifies; default: log_updates' },
  payload: { type: 'string', value: 'none|row', text: 'What it sends: nothing, or each row as JSON; default: none' }
}

export const LOCK_NOTE = `A table is waited for ${LOCK_TIMEOUT / 1000} s at most: while DDL waits for a lock, all who write wait behind it.`

/** @throws UsageError */
export function readTargets (args: Arguments): InstallTarget[] {
  if (args.names.length === 0) throw new UsageError('no table: name the log table as schema.name')
  if (args.given('runs') && args.names.length > 1) throw new UsageError('--runs belongs to one log table: do the others by themselves')
  return args.names.map((table) => readTarget(args, table))
}

/** @throws UsageError */
export function readTarget (args: Arguments, table: string): InstallTarget {
  const payload = args.word('payload', ['none', 'row'], 'none')
  const channel = args.text('channel') ?? 'log_updates'
  const runs = args.text('runs')
  try {
    readOptions({ connectionString: 'postgres://any', table, channel }, {})
  } catch (error) {
    throw new UsageError((error as Error).message)
  }
  return { table, channel, payload, ...runs !== undefined && { runs } }
}

/** What is to be taken away: tables, or all, which is null. @throws UsageError */
export function readRemovals (args: Arguments): Array<string | null> {
  const { names } = args
  const all = args.flag('all')
  if (all && names.length > 0) throw new UsageError('--all takes away everything: leave the tables out')
  if (!all && names.length === 0) throw new UsageError('no table: name the log table as schema.name, or give --all')
  return all ? [null] : [...names]
}
