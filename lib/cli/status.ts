import { installCommand, statusCommand } from '../commands.ts'
import { otherBell } from '../postgres/bell.ts'
import { verify, type Installation } from '../postgres/install.ts'
import { findAbsence } from '../postgres/table.ts'
import type { Command } from './command.ts'
import { each } from './each.ts'
import { likelier } from './other-bell.ts'
import { DATABASE } from './server.ts'
import { readTargets, TABLES, TARGET } from './targets.ts'
import type { Line } from './terminal.ts'

export const status: Command = {
  name: 'status',
  summary: 'Say whether the trigger is installed as it should be',
  usage: '<table> … [options]',
  options: { ...DATABASE, ...TABLES, ...TARGET, json: { type: 'boolean', text: 'One JSON text' } },
  notes: ['It changes nothing. Exit code 1: something is missing.'],
  takesNames: 'several',

  async run (call) {
    return each(call, 'status', readTargets(call.args), {
      act: async (reader, target) => {
        const { runs, ...alone } = target
        const absence = runs === undefined ? null : await reader.answer((sql) => findAbsence(sql, runs))
        // The trigger on the log table is there or not, whatever the other name leads to.
        const known = absence === null ? target : alone
        const installation = await reader.answer((sql) => verify(sql, known))
        const other = await reader.answer((sql) => otherBell(sql, known))
        const command = installation.missing.length === 0 ? null : installCommand(known)
        if (absence !== null) installation.missing.push(`the table of runs, ${runs}: ${absence.wrong}; correct --runs, and the option runs.table of the app`)
        return { ...installation, other, command }
      },
      describe: (target, { command, other, ...installation }) =>
        describe(target.table, installation, command, other && likelier(target, other, statusCommand({ ...target, ...other }))),
      isFine: ({ missing }) => missing.length === 0
    })
  }
}

const BELLS = { own: 'the trigger rings', foreign: 'another trigger rings', none: 'nothing rings' }

/** @param instead what may be the cause, rather than a trigger that is wrong */
export function describe (table: string, { version, bundled, bell, missing, remedy }: Installation, command: string | null, instead: string | null = null): Line[] {
  const schema = version === null ? 'no schema fastify_pg_tail' : `schema fastify_pg_tail version ${version}${version === bundled ? '' : ` (this package brings ${bundled})`}`
  return [
    [missing.length === 0 ? ['green', 'ok     '] : ['red', 'missing'], ' ', ['bold', table], `: ${BELLS[bell]}, ${schema}`],
    ...missing.map((what): Line => [`          ${what}`]),
    ...instead === null ? [] : [[`        ${instead}`] as Line],
    ...command === null ? [] : [[`        ${instead === null ? 'To fix it' : 'Otherwise'}: `, ['cyan', command]] as Line, ...remedy.map((each, i): Line => [`        ${i === 0 ? 'or by hand: ' : '            '}${each}`])]
  ]
}
