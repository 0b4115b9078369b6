// PgBouncer, as a process of the test's own.

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { access, chmod, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import { freePort, isOpen } from './port.ts'
import type { TestLike } from './postgres.ts'

/** The path of the program, or null. */
export async function lookForPgBouncer (): Promise<string | null> {
  for (const folder of [...(process.env['PATH'] ?? '').split(delimiter), '/usr/sbin']) {
    const path = join(folder, 'pgbouncer')
    try {
      await access(path)
      return path
    } catch {}
  }
  return null
}

/** Resolves with the URL of a pool in transaction mode in front of the server of `url`. */
export async function startPgBouncer (t: TestLike, binary: string, url: string): Promise<string> {
  const { port, pathname, password } = new URL(url)
  const database = pathname.slice(1)
  const folder = await mkdtemp(join(tmpdir(), 'pgbouncer-'))
  await chmod(folder, 0o755)
  const listen = await freePort()
  const file = join(folder, 'pgbouncer.ini')
  await writeFile(file, `
[databases]
${database} = host=127.0.0.1 port=${port} dbname=${database} user=postgres password=${password}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = ${listen}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = 4
server_round_robin = 1
server_login_retry = 1
`, { mode: 0o644 })
  const user = process.getuid?.() === 0 ? ['-u', 'nobody'] : []
  const child = spawn(binary, ['-q', ...user, file], { stdio: 'ignore', cwd: '/' })
  t.teardown(async () => {
    const died = child.exitCode ?? child.signalCode
    const exit = died === null ? once(child, 'exit') : null
    child.kill('SIGKILL')
    await exit
    await rm(folder, { recursive: true })
    if (died !== null) throw new Error(`PgBouncer died: ${died}`)
  })
  while (!await isOpen(listen)) await new Promise((resolve) => setTimeout(resolve, 20))
  return `postgres://any:none@127.0.0.1:${listen}/${database}`
}
