// nginx in front of an app, as a process of the test's own.

import { spawn, spawnSync, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import { freePort, isOpen } from './port.ts'
import type { TestLike } from './postgres.ts'

const env = { ...process.env, PATH: [process.env['PATH'], '/usr/sbin'].join(delimiter) }

/** Why it is not there; false where it is. Where all tests have to run a missing one is a failure. */
export const withoutNginx = process.env['CI'] || spawnSync('nginx', ['-v'], { env }).status === 0 ? false : 'no nginx here'

/**
 * Runs it, with this in its `http`. It goes with the test.
 * @param isThere resolves with whether it serves by now
 */
export async function runNginx (t: TestLike, conf: string, isThere: () => Promise<boolean>): Promise<ChildProcess> {
  const folder = await mkdtemp(join(tmpdir(), 'nginx-'))
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map((name) => `${name}_temp_path ${folder}/${name};`).join(' ')
  await writeFile(join(folder, 'nginx.conf'), `daemon off; master_process off; pid ${folder}/nginx.pid; error_log stderr;
    events {} http { access_log off; ${temporary} ${conf} }`)
  const child = spawn('nginx', ['-p', folder, '-c', join(folder, 'nginx.conf')], { stdio: 'ignore', env })
  t.teardown(async () => {
    const exit = (child.exitCode ?? child.signalCode) === null ? once(child, 'exit') : null
    child.kill('SIGKILL')
    await exit
    await rm(folder, { recursive: true })
  })
  while (!await isThere()) {
    const end = child.exitCode ?? child.signalCode
    if (end !== null) throw new Error(`nginx has ended with ${end}`)
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
  return child
}

/** Resolves with its origin. `directives` stand in the location. */
export async function startNginx (t: TestLike, origin: string, directives: string): Promise<string> {
  const port = await freePort()
  await runNginx(t, `server { listen 127.0.0.1:${port}; location / { proxy_pass ${origin}; ${directives} } }`, () => isOpen(port))
  return `http://127.0.0.1:${port}`
}
