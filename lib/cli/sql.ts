import { installScripts, uninstallScript } from '../postgres/script.ts'
import type { Command } from './command.ts'
import { readRemovals, readTargets, TABLES, TARGET } from './targets.ts'

export const sql: Command = {
  name: 'sql',
  summary: 'Print the SQL that install or uninstall would run',
  usage: '[<table> …] [options]',
  options: {
    ...TABLES,
    ...TARGET,
    uninstall: { type: 'boolean', text: 'What takes the triggers from the tables' },
    all: { type: 'boolean', text: 'With --uninstall: what takes away everything' }
  },
  notes: [
    'It asks no database. What is right already the SQL leaves alone.',
    '  fastify-pg-tail sql public.scraper_log | psql -v ON_ERROR_STOP=1 "$DATABASE_URL"'
  ],
  takesNames: 'several',

  async run ({ args, terminal }) {
    const print = (scripts: string[]) => terminal.text(scripts.join('\n'))
    if (!args.flag('uninstall')) {
      args.refuse(['all'], 'goes with --uninstall')
      print(await installScripts(readTargets(args)))
    } else {
      args.refuse(Object.keys(TARGET), 'does not go with --uninstall')
      print(await Promise.all(readRemovals(args).map(uninstallScript)))
    }
    return 0
  }
}
