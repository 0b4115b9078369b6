import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'

export interface NodePlan {
  name: string
  connectionString: string
  table: string
  options: object
  /** Clients may hop between all nodes of a group. */
  group: string
  /** `wrong`: it is days off, and jumps. */
  clock?: 'wrong'
  /** It is never restarted. */
  stays?: boolean
}

/** What no fault may bring about. */
export class Defect extends Error {}

/** Milliseconds: far above what either takes. */
const START_TIMEOUT = 60_000
const STOP_TIMEOUT = 30_000

/** One process of the plugin, which can be stopped, killed and started again. */
export class FleetNode {
  readonly plan: NodePlan
  #child: ChildProcess | null = null
  #url: string | null = null
  restarts = 0
  readonly crashes: string[] = []

  constructor (plan: NodePlan) {
    this.plan = plan
  }

  /** Null while it is down. */
  get url (): string | null {
    return this.#url
  }

  async start (): Promise<void> {
    const { connectionString, table, options, clock = 'right' } = this.plan
    const child = spawn(process.execPath,
      ['--expose-gc', '--import', 'tsx', fileURLToPath(new URL('node.ts', import.meta.url)), connectionString, table, JSON.stringify(options), clock],
      { stdio: ['pipe', 'pipe', process.env['TORTURE_LOG'] ? 'inherit' : 'ignore'] })
    this.#child = child
    const [url] = await Promise.race([
      once(createInterface(child.stdout!), 'line'),
      once(child, 'exit').then(([code, signal]) => { throw new Defect(`${this.plan.name} ended at its start: ${code ?? signal}`) }),
      sleep(START_TIMEOUT, undefined, { ref: false }).then(() => { throw new Defect(`${this.plan.name} did not start`) })
    ])
    this.#url = `${url}`
    child.once('exit', (code, signal) => {
      if (this.#child === child && this.#url !== null) this.crashes.push(`${this.plan.name} crashed: ${code ?? signal}`)
    })
  }

  async stop (kill: boolean): Promise<void> {
    const child = this.#child
    if (child === null || child.exitCode !== null) return
    this.#url = null
    const exit = once(child, 'exit')
    if (kill) child.kill('SIGKILL')
    else child.stdin!.end()
    const closed = await Promise.race([exit, sleep(STOP_TIMEOUT, null, { ref: false })])
    if (closed === null) {
      child.kill('SIGKILL')
      throw new Defect(`${this.plan.name} did not close`)
    }
    this.restarts++
  }

  async memory (): Promise<{ heap: number, rss: number }> {
    return await (await fetch(`${this.#url}/memory`)).json() as { heap: number, rss: number }
  }

  async status (): Promise<any> {
    return (await fetch(`${this.#url}/logs/status`)).json()
  }
}
