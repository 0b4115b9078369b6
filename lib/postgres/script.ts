import { readFile } from 'node:fs/promises'
import { LOCK_TIMEOUT, literals, NOT_NEWER, preamble, type InstallTarget } from './install.ts'

/** All that `install()` would run where nothing is there: one text for each transaction. What is right already these leave alone. */
export async function installScripts (targets: readonly InstallTarget[]): Promise<string[]> {
  const scripts = [[NOT_NEWER, await readFile(new URL(import.meta.resolve('#sql/install.sql')), 'utf8')]]
  // One table at a time, as install() does.
  for (const { table, runs, channel, payload } of targets) {
    scripts.push([`select fastify_pg_tail.install(${literals(table, channel, payload)})`])
    if (runs !== undefined) scripts.push([`select fastify_pg_tail.install_runs(${literals(runs, table, channel)})`])
  }
  return scripts.map(transaction)
}

/** Takes the triggers from one table; or, without one, everything of ours from the database. */
export async function uninstallScript (table: string | null): Promise<string> {
  return transaction([table === null
    ? await readFile(new URL(import.meta.resolve('#sql/uninstall.sql')), 'utf8')
    : `select fastify_pg_tail.uninstall(${literals(table)})`])
}

function transaction (commands: string[]): string {
  return ['begin', ...preamble(LOCK_TIMEOUT), ...commands, 'commit'].map((command) => `${command.trimEnd().replace(/;$/, '')};\n`).join('')
}
