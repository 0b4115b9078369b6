// Instructions that an INSERT takes, for where time is too noisy to tell triggers apart: counted by valgrind, in a server
// of one process. It tells nothing of locks that processes wait for.

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import postgres from 'postgres'
import { startEmbeddedPostgres } from '../../examples/embedded-postgres.ts'
import { createDemoTables } from '../../test/support/postgres.ts'
import { LINE } from '../support/load.ts'
import { compare, type Comparison } from '../support/result.ts'
import { TRIGGERS } from '../support/triggers.ts'
import type { Figures } from '../support/rounds.ts'

const OURS = 'ours, nobody watches'
/** What a session does once does not count. */
const FIRST = 500
const INSERTS = 1000
const ONE = `insert into scraper_log (run_id, level, message) values (1, 'INFO', '${LINE}')`

export const about = 'Thousands of instructions of a transaction with one prepared INSERT, of the one process of a server in single-user mode, without a wait for the disk.'

/** Instructions are the same each time. */
export const rounds = 1

export async function measure (): Promise<Comparison[]> {
  const server = await startEmbeddedPostgres()
  try {
    const install = await readFile(new URL('../../sql/install.sql', import.meta.url), 'utf8')
    const sides: Record<string, string> = { ...TRIGGERS, [OURS]: `${install}; select fastify_pg_tail.install('scraper_log')` }
    const admin = postgres(server.url, { max: 1, onnotice () {} })
    for (const [i, commands] of Object.values(sides).entries()) {
      await admin.unsafe(`create database side_${i}`)
      const sql = postgres(Object.assign(new URL(server.url), { pathname: `side_${i}` }).href, { max: 1, onnotice () {} })
      await createDemoTables(sql)
      await sql.unsafe(commands)
      await sql.end()
    }
    const [row] = await admin`select setting as folder from pg_config() where name = 'BINDIR'`
    await admin.end()
    await server.stop()
    const figures: Figures = {}
    for (const [i, side] of Object.keys(sides).entries()) {
      const count = (inserts: number) => instructions(join(row!.folder, 'postgres'), server.dataDir, `side_${i}`, inserts)
      figures[side] = [(await count(FIRST + INSERTS) - await count(FIRST)) / INSERTS / 1000]
      console.log(`  ${side}: ${figures[side]}`)
    }
    const what = 'one INSERT'
    return [
      compare(what, '1,000 instructions', figures, OURS, 'empty trigger'),
      compare(what, '1,000 instructions', figures, OURS, 'no trigger'),
      compare(what, '1,000 instructions', figures, 'row trigger', 'no trigger')
    ]
  } finally {
    await server.close()
  }
}

async function instructions (program: string, dataDir: string, database: string, inserts: number): Promise<number> {
  // The server does not run as root, nor on data of somebody else.
  const { uid, gid } = await stat(dataDir)
  const valgrind = spawn('valgrind', ['--tool=callgrind', '--callgrind-out-file=/dev/null', program, '--single', '-D', dataDir, database], {
    cwd: dataDir, stdio: ['pipe', 'ignore', 'pipe'], ...process.getuid!() === 0 && { uid, gid }
  })
  valgrind.stdin.end(`set synchronous_commit = off;\nprepare one as ${ONE};\n${'execute one;\n'.repeat(inserts)}`)
  const [said, [code]] = await Promise.all([text(valgrind.stderr), once(valgrind, 'exit')])
  const collected = /Collected : (\d+)/.exec(said)?.[1]
  if (code !== 0 || collected === undefined || said.includes('ERROR')) throw new Error(said)
  return Number(collected)
}
