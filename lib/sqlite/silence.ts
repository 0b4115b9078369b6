import { EventEmitter } from 'node:events'
import type { ListenerEvents, ListenerState, Mode } from '../tail/channel.ts'
import type { Listener, ListenerStatus } from '../tail/notify-listener.ts'

/** In the place of the listener: nothing can be heard, and that is said. */
export class Silence extends EventEmitter<ListenerEvents> implements Listener {
  readonly mode: Mode = 'poll'
  readonly #troubles: (table?: string) => unknown[]
  #state: ListenerState = 'idle'

  /** @param troubles why tables cannot be read, that one or all of them; null for each that can */
  constructor (troubles: (table?: string) => unknown[]) {
    super()
    this.#troubles = troubles
  }

  get state (): ListenerState {
    return this.#state
  }

  isReady (table?: string): boolean {
    return this.#state === 'polling' && this.#troubles(table).includes(null)
  }

  /** @param trouble of one of several tables; default: of all of them */
  status (trouble = this.#troubles().find((trouble) => trouble !== null) ?? null): ListenerStatus {
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
