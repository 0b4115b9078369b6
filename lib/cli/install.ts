import type { Sql } from 'postgres'
import { install as installAll, verify } from '../postgres/install.ts'
import { uninstall as uninstallAll } from '../postgres/uninstall.ts'
import type { Command } from './command.ts'
import { Failure, errorText } from './failure.ts'
import { databaseUrl, DATABASE, withServer } from './server.ts'
import { readRemovals } from './sql.ts'
import { describe } from './status.ts'
import { installCommand, LOCK_NOTE, readTargets, TARGET } from './targets.ts'

const JSON_OPTION = { json: { type: 'boolean', text: 'One JSON text' } } as const

export const install: Command = {
  name: 'install',
  summary: 'Put the trigger on tables, or mend it',
  usage: '<table> … [options]',
  options: { ...DATABASE, ...TARGET, ...JSON_OPTION },
  notes: ['What is right already is left alone. It takes a role that owns the tables and may create a schema.', LOCK_NOTE],
  takesNames: true,

  async run (call) {
    const { args, terminal } = call
    const targets = readTargets(args)
    const done = await withServer(databaseUrl(call), call, 'install', async (reader) => {
      const all = []
      for (const target of targets) {
        const before = await reader.answer((sql) => verify(sql, target))
        const after = await reader.answer((sql) => installAll(sql, target))
        all.push({ target, changed: before.missing.length > 0, installation: after })
      }
      return all
    })
    if (args.flag('json')) terminal.json(done.map(({ target, changed, installation }) => ({ table: target.table, changed, ...installation })))
    else {
      for (const { target, changed, installation } of done) {
        const right = installation.missing.length === 0
        for (const line of describe(target.table, installation, right ? null : installCommand(target))) terminal.line(...line)
        if (right) terminal.line(changed ? '        It was installed now.' : '        Nothing had to be done.')
      }
    }
    return done.every(({ installation }) => installation.missing.length === 0) ? 0 : 1
  }
}

export const uninstall: Command = {
  name: 'uninstall',
  summary: 'Take the trigger from tables, or everything from the database',
  usage: '<table> … | --all [options]',
  options: { ...DATABASE, all: { type: 'boolean', text: 'All triggers, the schema fastify_pg_tail, and with it the list of stopped runs' }, ...JSON_OPTION },
  notes: ['Where nothing is there nothing is done. The plugin goes on by polling.', LOCK_NOTE],
  takesNames: true,

  async run (call) {
    const { args, terminal } = call
    const removals = readRemovals(args.names, args.flag('all'))
    const done = await withServer(databaseUrl(call), call, 'uninstall', async (reader) => {
      const all = []
      for (const table of removals) all.push({ table, changed: await reader.answer((sql) => remove(sql, table)) })
      return all
    })
    if (args.flag('json')) terminal.json(done)
    else for (const { table, changed } of done) terminal.line(['green', 'ok     '], ' ', ['bold', table ?? 'everything'], changed ? ': was taken away' : ': nothing was there')
    return 0
  }
}

/** Null: everything. @returns whether something was there */
async function remove (sql: Sql, table: string | null): Promise<boolean> {
  try {
    return await uninstallAll(sql, table)
  } catch (error) {
    const { code = '' } = error as { code?: string }
    // There is no such table, or no session: that says it all.
    if (code === '42P01' || !/^[0-9A-Z]{5}$/.test(code)) throw error
    const why = code === '55P03' || code === '40P01' ? 'a transaction writes to the table, or another node installs; nothing was changed. Try again once it is over' : errorText(error)
    throw new Failure(`${table ?? 'everything'} was not taken away: ${why}`)
  }
}
