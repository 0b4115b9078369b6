// Commands of our own command line, as somebody would type them.

import type { InstallTarget } from './postgres/install.ts'

/** Installs what is missing. */
export function installCommand (target: InstallTarget): string {
  return type('install', target.table, ...optionsOf(target))
}

/** Removes the trigger from a table. */
export function uninstallCommand (table: string): string {
  return type('uninstall', table)
}

/** Says whether the trigger is there. */
export function statusCommand (target: InstallTarget): string {
  return type('status', target.table, ...optionsOf(target))
}

/** Looks at everything. @param columns as `--column` takes them */
export function doctorCommand (target: InstallTarget, columns: readonly string[]): string {
  return type('doctor', '--table', target.table, ...optionsOf(target), ...columns.flatMap((column) => ['--column', column]))
}

function optionsOf ({ runs, channel, payload }: InstallTarget): string[] {
  return [
    ...runs === undefined ? [] : ['--runs', runs],
    ...channel === 'log_updates' ? [] : ['--channel', channel],
    ...payload === 'none' ? [] : ['--payload', payload]
  ]
}

function type (...words: string[]): string {
  return ['npx fastify-pg-tail', ...words.map(inShell)].join(' ')
}

function inShell (word: string): string {
  return /^[\w./=-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`
}
