// The command line as a process of its own, from its source.

import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import ts from 'typescript'
import type { TestLike } from './postgres.ts'

const root = fileURLToPath(new URL('../..', import.meta.url))
const { config } = ts.readConfigFile(join(root, 'tsconfig.json'), ts.sys.readFile)
const { options } = ts.convertCompilerOptionsFromJson(config.compilerOptions, root)

/** As JavaScript, inside the package: a loader would take longer than most commands. */
function build (): string {
  mkdirSync(join(root, '.tap'), { recursive: true })
  const folder = mkdtempSync(join(root, '.tap', 'cli-'))
  process.on('exit', () => rmSync(folder, { recursive: true, force: true }))
  const paths = ['lib', 'client'].flatMap((part) => readdirSync(join(root, part), { recursive: true, encoding: 'utf8' }).map((path) => join(part, path)))
  for (const path of paths) {
    if (!path.endsWith('.ts')) continue
    const { outputText } = ts.transpileModule(readFileSync(join(root, path), 'utf8'), { compilerOptions: { ...options, noEmit: false, module: ts.ModuleKind.ESNext } })
    const file = join(folder, path.replace(/ts$/, 'js'))
    mkdirSync(dirname(file), { recursive: true })
    writeFileSync(file, outputText)
  }
  return folder
}

/** How to call it, for a shell. */
export const COMMAND = [process.execPath, join(build(), 'lib', 'cli', 'main.js')]

export interface Result {
  code: number | string
  out: string
  err: string
}

/** What is shown, and how it ends. It goes with the test. */
export class Cli {
  readonly process: ChildProcess
  /** Code or signal. */
  readonly exit: Promise<number | string>
  out = ''
  err = ''
  #look: () => void = () => {}
  #over = false

  constructor (t: TestLike, args: string[], env: NodeJS.ProcessEnv = {}) {
    // NODE_OPTIONS would bring the loader of the tests along, and its coverage.
    const { NODE_OPTIONS: _, DATABASE_URL: __, NO_COLOR: ___, FORCE_COLOR: ____, ...rest } = process.env
    this.process = spawn(COMMAND[0]!, [...COMMAND.slice(1), ...args], { stdio: ['ignore', 'pipe', 'pipe'], env: { ...rest, ...env } })
    this.process.stdout!.setEncoding('utf8').on('data', (text) => { this.out += text; this.#look() })
    this.process.stderr!.setEncoding('utf8').on('data', (text) => { this.err += text; this.#look() })
    this.exit = once(this.process, 'close').then(([code, signal]) => {
      this.#over = true
      this.#look()
      return code ?? signal
    })
    t.teardown(() => this.process.kill('SIGKILL'))
  }

  /** Looked at whenever something was said. */
  async until (right: (cli: this) => boolean): Promise<void> {
    while (!right(this)) {
      if (this.#over) throw new Error(`it ended before that:\n${this.out.slice(-2000)}\n${this.err.slice(-2000)}`)
      await new Promise<void>((resolve) => { this.#look = resolve })
    }
  }

  /** Of `--json` while it goes on: the lines that are whole. */
  get json (): any[] {
    return this.out.split('\n').slice(0, -1).map((line) => JSON.parse(line))
  }

  /** Ctrl-C. */
  interrupt (): Promise<number | string> {
    this.process.kill('SIGINT')
    return this.exit
  }
}

/** Resolves once it has ended. */
export async function runCli (t: TestLike, args: string[], env?: NodeJS.ProcessEnv): Promise<Result> {
  const cli = new Cli(t, args, env)
  const code = await cli.exit
  return { code, out: cli.out, err: cli.err }
}
