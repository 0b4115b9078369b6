// Commands of our own command line, as somebody would type them.

import type { InstallTarget } from './postgres/install.ts'

/** Installs what is missing. */
export function installCommand ({ table, runs, channel, payload }: InstallTarget): string {
  const options = [
    ...runs === undefined ? [] : ['--runs', runs],
    ...channel === 'log_updates' ? [] : ['--channel', channel],
    ...payload === 'none' ? [] : ['--payload', payload]
  ]
  return ['npx fastify-pg-tail install', ...[table, ...options].map(inShell)].join(' ')
}

/** Removes the trigger from a table. */
export function uninstallCommand (table: string): string {
  return `npx fastify-pg-tail uninstall ${inShell(table)}`
}

function inShell (word: string): string {
  return /^[\w./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`
}
