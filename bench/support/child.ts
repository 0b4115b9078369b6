// A process of its own: for a side, so that its processor time can be told from that of others, or for clients.

import { fork, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'

type Answer = { id: number, value?: any, error?: string }

export class Child implements AsyncDisposable {
  readonly #process: ChildProcess
  readonly #waiting = new Map<number, { resolve: (value: any) => void, reject: (error: Error) => void }>()
  #asked = 0

  private constructor (process: ChildProcess) {
    this.#process = process
    process.on('message', ({ id, value, error }: Answer) => {
      const waiting = this.#waiting.get(id)
      this.#waiting.delete(id)
      if (error === undefined) waiting?.resolve(value)
      else waiting?.reject(new Error(error))
    })
    process.on('exit', (code) => {
      for (const { reject } of this.#waiting.values()) reject(new Error(`the process of ${process.spawnargs.at(-1)} ended: ${code}`))
    })
  }

  /** @param file below bench/ */
  static async start (file: string, ...args: string[]): Promise<Child> {
    const child = fork(new URL(`../${file}`, import.meta.url), args, { execArgv: ['--expose-gc', '--no-warnings', '--import', 'tsx'] })
    const [ready] = await Promise.race([once(child, 'message'), once(child, 'exit')])
    if (ready !== 'ready') throw new Error(`${file} did not start`)
    return new Child(child)
  }

  get pid (): number {
    return this.#process.pid!
  }

  ask<T = any> (name: string, ...args: unknown[]): Promise<T> {
    const id = ++this.#asked
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject })
      this.#process.send({ id, name, args })
    })
  }

  async [Symbol.asyncDispose] (): Promise<void> {
    if (this.#process.exitCode !== null || this.#process.signalCode !== null) return
    const exit = once(this.#process, 'exit')
    this.#process.disconnect()
    await exit
  }
}

/** In the child: answers what is asked, and ends with its parent. */
export function serve (handlers: Record<string, (...args: any[]) => unknown>): void {
  const common: typeof handlers = {
    /** Milliseconds of processor time so far. */
    cpu: () => process.cpuUsage().user / 1000 + process.cpuUsage().system / 1000,
    /** Bytes that are alive, and what the system has given. */
    memory: () => {
      gc!()
      gc!()
      const { heapUsed, external, rss } = process.memoryUsage()
      return { alive: heapUsed + external, rss }
    }
  }
  process.on('message', async ({ id, name, args }: { id: number, name: string, args: unknown[] }) => {
    try {
      process.send!({ id, value: await (handlers[name] ?? common[name]!)(...args) })
    } catch (error) {
      process.send!({ id, error: String((error as Error).stack) })
    }
  })
  process.on('disconnect', () => process.exit())
  process.send!('ready')
}
