import type { FastifyBaseLogger } from 'fastify'
import { backoff } from './backoff.ts'
import { installCommand } from './commands.ts'
import { install, verify, type Installation, type InstallTarget } from './postgres/install.ts'
import type { Pool } from './postgres/pool.ts'
import type { Table } from './postgres/table.ts'
import type { TableOptions } from './table-options.ts'

/** Between two tries to install the trigger: half a minute, then twice as long each time, up to an hour. */
const INSTALL_PAUSES = { initialDelay: 30_000, maxDelay: 3_600_000 }

export interface InstallerOptions {
  options: TableOptions
  /** The trigger on the table of runs is ours: there is but one, which names one log table. */
  ringsRuns: boolean
  /** For the look at the triggers: it waits where the table of runs is locked, and nothing shall wait behind it that reads the log. */
  lookups: Pool
  /** To install them, which may wait for longer. */
  pool: Pool
  log: FastifyBaseLogger
  /** Looks the table up. */
  prepare: () => Promise<Pick<Table, 'name' | 'oid'>>
  /** The next time it is to be looked up afresh. */
  forget: () => void
  /** Tables of one registration one after the other: each waits for the locks of the one before anyway, and would give up meanwhile. */
  inTurn: InTurn
}

export type InTurn = <T>(task: () => Promise<T>) => Promise<T>

/** Sees whether the trigger is there, and puts it there where that is wanted. */
export class Installer {
  readonly #options: InstallerOptions
  #installation: Installation | null = null
  /** Which table could not get it, how often, and until when that is left alone, by `performance.now()`. */
  #refusal = { oid: 0, count: 0, until: 0 }
  #said = ''

  constructor (options: InstallerOptions) {
    this.#options = options
  }

  /** What was found last. */
  get installation (): Installation | null {
    return this.#installation
  }

  /** Whether the end of a run rings, for all we know. */
  get runsBell (): boolean {
    const { ringsRuns, options: { runs } } = this.#options
    return runs === null || (ringsRuns && this.#installation?.runsBell !== false)
  }

  /**
   * Why bells cannot ring; installs the trigger where that is wanted.
   * @throws FST_PG_TAIL_TABLE, FST_PG_TAIL_SERVER, or why the table cannot be asked
   */
  async findObstacle (): Promise<string | null> {
    try {
      const { name, oid } = await this.#options.prepare()
      const target = this.#target(name)
      this.#installation = await this.#install(target, oid)
      this.#say(target, this.#installation)
    } catch (error) {
      // It may be gone, or another one by now.
      this.#options.forget()
      throw error
    }
    const { bell, missing } = this.#installation
    return bell === 'none' ? `no trigger rings: ${missing.join('; ')}` : null
  }

  #target (table: string): InstallTarget {
    const { ringsRuns, options: { runs, channel, payload } } = this.#options
    return { table, ...(runs !== null && ringsRuns ? { runs: runs.table } : {}), channel, payload }
  }

  async #install (target: InstallTarget, oid: number): Promise<Installation> {
    const { lookups, pool, log, inTurn, forget, options: { install: wanted } } = this.#options
    const found = await lookups.answer((sql) => verify(sql, target))
    const refusal = this.#refusal.oid === oid ? this.#refusal : null
    if (wanted !== true || found.missing.length === 0 || (refusal !== null && performance.now() < refusal.until)) return found
    try {
      const installed = await inTurn(() => pool.answer((sql) => install(sql, target)))
      this.#refusal.oid = 0
      log.info({ table: target.table, missing: found.missing }, 'the trigger was installed')
      return installed
    } catch (error) {
      // While it waits for the table, all who write wait behind it: seldom.
      const count = (refusal?.count ?? 0) + 1
      const pause = backoff(count, INSTALL_PAUSES)
      this.#refusal = { oid, count, until: performance.now() + pause }
      // By then another one may be in its place, which has refused nothing.
      forget()
      log.error({ err: error, retryInMs: pause }, 'the trigger could not be installed: polling, and trying again')
      return found
    }
  }

  /** Says what is missing, once. */
  #say (target: InstallTarget, { missing, remedy }: Installation): void {
    const said = missing.join('; ')
    if (said === this.#said || this.#options.options.install === false) return
    this.#said = said
    if (said !== '') this.#options.log.warn({ missing, remedy }, `the doorbell is not installed as it should be: ${said}. To fix it: ${installCommand(target)}`)
  }
}
