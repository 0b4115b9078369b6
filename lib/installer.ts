import type { FastifyBaseLogger } from 'fastify'
import { backoff } from './backoff.ts'
import { isRefusal } from './errors.ts'
import type { TableOptions } from './options.ts'
import { install, verify, type Installation } from './postgres/install.ts'
import type { Reader } from './postgres/reader.ts'

/** Between two tries to install the trigger: half a minute, then twice as long each time, up to an hour. */
const INSTALL_PAUSES = { initialDelay: 30_000, maxDelay: 3_600_000 }

export interface InstallerOptions {
  options: TableOptions
  reader: Reader
  pool: Reader
  log: FastifyBaseLogger
  /** Looks the table up; resolves with its name. */
  prepare: () => Promise<{ name: string }>
}

/** Sees whether the trigger is there, and puts it there where that is wanted. */
export class Installer {
  readonly #options: InstallerOptions
  #installation: Installation | null = null
  #failures = 0
  /** By `performance.now()`. */
  #after = 0
  #said = ''

  constructor (options: InstallerOptions) {
    this.#options = options
  }

  /** What was found last. */
  get installation (): Installation | null {
    return this.#installation
  }

  /** Why bells cannot ring; installs the trigger where that is wanted. */
  async findObstacle (): Promise<string | null> {
    try {
      const table = await this.#options.prepare()
      this.#installation = await this.#install(table.name)
    } catch (error) {
      if (isRefusal(error)) {
        // The log has the reason. The status may be public: no names of columns, no SQL.
        const { code, message } = error as Error & { code: string }
        if (message !== this.#said) this.#options.log.warn({ err: error }, 'the table cannot be tailed any more')
        this.#said = message
        return `${code}; the log says more`
      }
      throw error
    }
    const { bell, missing, remedy } = this.#installation
    this.#say(missing, remedy)
    return bell === 'none' ? `no trigger rings: ${missing.join('; ')}` : null
  }

  async #install (table: string): Promise<Installation> {
    const { reader, pool, log, options: { runs, channel, payload, install: wanted } } = this.#options
    const target = { table, ...(runs === null ? {} : { runs: runs.table }), channel, payload }
    const found = await reader.answer((sql) => verify(sql, target))
    if (wanted !== true || found.missing.length === 0 || performance.now() < this.#after) return found
    try {
      const installed = await pool.answer((sql) => install(sql, target))
      this.#failures = 0
      return installed
    } catch (error) {
      // While it waits for the table, all who write wait behind it: seldom.
      const pause = backoff(++this.#failures, INSTALL_PAUSES)
      this.#after = performance.now() + pause
      log.error({ err: error, retryInMs: pause }, 'the trigger could not be installed: polling, and trying again')
      return found
    }
  }

  /** Says what is missing, once. */
  #say (missing: string[], remedy: string[]): void {
    const said = missing.join('; ')
    if (said === this.#said || this.#options.options.install === false) return
    this.#said = said
    if (said !== '') this.#options.log.warn({ missing, remedy }, `the doorbell is not installed as it should be: ${said}. To mend it: ${remedy.join(' ')}`)
  }
}
