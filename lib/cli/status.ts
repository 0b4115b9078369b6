import { verify, type Installation } from '../postgres/install.ts'
import type { Command } from './command.ts'
import { databaseUrl, DATABASE, withServer } from './server.ts'
import { installCommand, readTargets, TARGET } from './targets.ts'
import type { Line } from './terminal.ts'

export const status: Command = {
  name: 'status',
  summary: 'Say whether the trigger is installed as it should be',
  usage: '<table> … [options]',
  options: { ...DATABASE, ...TARGET, json: { type: 'boolean', text: 'One JSON text' } },
  notes: ['It changes nothing. Exit code 1: something is missing.'],
  takesNames: true,

  async run (call) {
    const { args, terminal } = call
    const targets = readTargets(args)
    const found = await withServer(databaseUrl(call), call, 'status', async (reader) => {
      const all = []
      for (const target of targets) {
        const installation = await reader.answer((sql) => verify(sql, target))
        all.push({ table: target.table, ...installation, command: installation.missing.length === 0 ? null : installCommand(target) })
      }
      return all
    })
    if (args.flag('json')) terminal.json(found)
    else for (const { table, command, ...installation } of found) for (const line of describe(table, installation, command)) terminal.line(...line)
    return found.every(({ missing }) => missing.length === 0) ? 0 : 1
  }
}

const BELLS = { own: 'the trigger rings', foreign: 'another trigger rings', none: 'nothing rings' }

export function describe (table: string, { version, bundled, bell, missing, remedy }: Installation, command: string | null): Line[] {
  const schema = version === null ? 'no schema fastify_pg_tail' : `schema fastify_pg_tail version ${version}${version === bundled ? '' : ` (this package brings ${bundled})`}`
  return [
    [missing.length === 0 ? ['green', 'ok     '] : ['red', 'missing'], ' ', ['bold', table], `: ${BELLS[bell]}, ${schema}`],
    ...missing.map((what): Line => [`          ${what}`]),
    ...command === null ? [] : [['        To mend it: ', ['cyan', command]] as Line, ...remedy.map((each, i): Line => [`        ${i === 0 ? 'or by hand: ' : '            '}${each}`])]
  ]
}
