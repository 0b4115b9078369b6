import { spawn, type ChildProcess } from 'node:child_process'
import type { TestLike } from './postgres.ts'

export interface ProgramOptions {
  cwd: string
  env?: NodeJS.ProcessEnv
  /** A process group of its own, such as a terminal gives it. */
  detached?: boolean
}

/** Another program, and what it says. It goes with the test. */
export class Program {
  readonly process: ChildProcess
  #said = ''
  #complaints = ''

  constructor (t: TestLike, command: string, args: string[], { cwd, env = {}, detached = false }: ProgramOptions) {
    // NODE_OPTIONS would bring the loader of the tests along.
    const { NODE_OPTIONS: _, ...rest } = process.env
    this.process = spawn(command, args, { cwd, detached, env: { ...rest, ...env } })
    // Apart from each other: curl draws its progress into the middle of what it gets.
    this.process.stdout!.setEncoding('utf8').on('data', (text) => { this.#said += text })
    this.process.stderr!.setEncoding('utf8').on('data', (text) => { this.#complaints += text })
    t.teardown(() => detached ? this.signal('SIGKILL') : this.process.kill('SIGKILL'))
  }

  /** To the whole group, as a terminal does. */
  signal (signal: NodeJS.Signals): void {
    try {
      process.kill(-this.process.pid!, signal)
    } catch {
      // Nobody is left in it.
    }
  }

  async says (pattern: RegExp): Promise<RegExpExecArray> {
    for (let tries = 0; tries < 1200; tries++) {
      const match = pattern.exec(this.#said)
      if (match) return match
      await new Promise((resolve) => setTimeout(resolve, 50))
    }
    throw new Error(`never said ${pattern}, but:\n${this.#said.slice(-2000)}\n${this.#complaints.slice(-2000)}`)
  }
}
