import { EventEmitter } from 'node:events'
import type { ListenerEvents, ListenerState, Mode } from '../tail/channel.ts'
import type { ListenerStatus } from '../tail/notify-listener.ts'

/** In the place of the listener: nothing can be heard, and that is said. */
export class Silence extends EventEmitter<ListenerEvents> {
  readonly mode: Mode = 'poll'
  readonly session = null
  readonly #trouble: () => unknown
  #state: ListenerState = 'idle'

  /** @param trouble why a table cannot be read; null: all of them can */
  constructor (trouble: () => unknown) {
    super()
    this.#trouble = trouble
  }

  get state (): ListenerState {
    return this.#state
  }

  /** Whether rows reach whoever watches here: for a probe of the host's. */
  isReady (): boolean {
    return this.#state === 'polling' && this.#trouble() === null
  }

  /** @param trouble of one of several tables; default: of all of them */
  status (trouble = this.#trouble()): ListenerStatus {
    return {
      running: this.#state === 'polling',
      connection_healthy: this.#state === 'polling' && trouble === null,
      state: this.#state,
      mode: this.mode,
      reconnect_attempts: 0,
      max_reconnect_attempts: 0,
      reconnects: 0,
      pg_queue_usage_percent: null,
      last_error: trouble === null ? null : describe(trouble)
    }
  }

  become (state: 'polling' | 'closed', reason: string): void {
    if (state === this.#state || this.#state === 'closed') return
    this.#state = state
    this.emit('state', state, reason)
  }
}

/** For the status, which may be public: what the file system says names the path. The log has it all. */
function describe (error: unknown): string {
  const { code = '', errstr = code, message } = error as { code?: string, errstr?: string, message: string }
  return code.startsWith('FST_') ? message : `${errstr}; the log says more`
}
