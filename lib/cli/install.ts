import type { Sql } from 'postgres'
import { installCommand } from '../commands.ts'
import { otherBell } from '../postgres/bell.ts'
import { install as installAll, verify } from '../postgres/install.ts'
import { pluginSessions } from '../postgres/look.ts'
import { uninstall as uninstallAll } from '../postgres/uninstall.ts'
import { plural } from './checks/finding.ts'
import type { Command } from './command.ts'
import { each } from './each.ts'
import { Failure, errorText } from './failure.ts'
import { before } from './other-bell.ts'
import { DATABASE } from './server.ts'
import { describe } from './status.ts'
import { LOCK_NOTE, readRemovals, readTargets, TABLES, TARGET } from './targets.ts'
import type { Line } from './terminal.ts'

const JSON_OPTION = { json: { type: 'boolean', text: 'One JSON text' } } as const
/** Asked for by name, ours is put there whoever else rings, as the SQL does it. */
const BESIDE = { beside: true }

const PUT_BACK = 'an app with install: true puts the trigger back, so set install: false there first'
/** What the sessions of an app are called; those of our own commands are called otherwise. */
const OF_APPS = /^fastify-pg-tail (listener|proof|reader|lookup|replay)$/

export const install: Command = {
  name: 'install',
  summary: 'Put the trigger on tables, or fix it',
  usage: '<table> … [options]',
  options: { ...DATABASE, ...TABLES, ...TARGET, ...JSON_OPTION },
  notes: ['What is right already is left alone; beside a trigger of somebody else ours is put all the same. It takes a role that owns the tables and may create a schema.', LOCK_NOTE],
  takesNames: 'several',

  async run (call) {
    return each(call, 'install', readTargets(call.args), {
      act: async (reader, target) => {
        const { missing: wrong } = await reader.answer((sql) => verify(sql, target, BESIDE))
        const other = await reader.answer((sql) => otherBell(sql, target))
        return { changed: wrong.length > 0, wrong, other, ...await reader.answer((sql) => installAll(sql, target, BESIDE)) }
      },
      describe: (target, { changed, wrong, other, ...installation }) => {
        const right = installation.missing.length === 0
        return [
          ...describe(target.table, installation, right ? null : installCommand(target)),
          ...right ? [[changed ? `        It was installed now${other === null ? '' : `: ${before(target, other)}`}.` : '        Nothing had to be done.']] : [],
          ...right ? wrong.map((what) => [`          Before: ${what}`]) : []
        ]
      },
      isFine: ({ missing }) => missing.length === 0
    })
  }
}

export const uninstall: Command = {
  name: 'uninstall',
  summary: 'Take the trigger from tables, or everything from the database',
  usage: '<table> … | --all [options]',
  options: { ...DATABASE, ...TABLES, all: { type: 'boolean', text: 'All triggers, the schema fastify_pg_tail, and with it the list of stopped runs' }, ...JSON_OPTION },
  notes: [`Where nothing is there nothing is done. The plugin goes on by polling; but ${PUT_BACK}.`, LOCK_NOTE],
  takesNames: 'several',

  async run (call) {
    return each(call, 'uninstall', readRemovals(call.args).map((table) => ({ table })), {
      act: async (reader, { table }) => ({
        changed: await reader.answer((sql) => remove(sql, table)),
        plugin_sessions: (await reader.answer(pluginSessions)).filter(({ name }) => OF_APPS.test(name)).length
      }),
      describe: ({ table }, { changed, plugin_sessions: sessions }) => [
        [['green', 'ok     '], ' ', ['bold', table ?? 'everything'], changed ? ': was taken away' : ': nothing was there'],
        ...changed && sessions > 0 ? [[['yellow', `        ${plural(sessions, 'session')} of the plugin ${sessions === 1 ? 'is' : 'are'} connected: ${PUT_BACK}.`]] as Line] : []
      ],
      isFine: () => true
    })
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
    throw new Failure(`it was not taken away: ${why}`)
  }
}
