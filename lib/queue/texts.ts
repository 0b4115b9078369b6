import type { Mode } from '../tail/channel.ts'

/** Sentences for clients; replace them to speak another language. Where one throws, the English default is sent. */
export interface Texts {
  /** The stream has begun, and rows arrive by LISTEN/NOTIFY or by polling. */
  connected: (mode: Mode) => string
  /** From now on rows arrive the other way. */
  mode: (mode: Mode) => string
  /** The run has ended; `status` is the run's, or `stopped` after `stop()`. */
  stopped: (status: string) => string
  /** Rows cannot be read at the moment; sent in the place of `connected` or `mode`, and `mode` follows once they can. */
  unavailable: () => string
  /** The table was started afresh: what the client has is gone. */
  reset: () => string
}

/**
 * The given sentences; where one of them throws, or is no text, the default: no stream shall suffer for it.
 * @param pollInterval milliseconds
 */
export function withDefaults (given: Partial<Texts>, pollInterval: number): Texts {
  const defaults: Texts = {
    connected: (mode) => mode === 'listen' ? 'Connected to log stream (PostgreSQL LISTEN/NOTIFY)' : `Connected to log stream (polling every ${pollInterval} ms)`,
    mode: (mode) => mode === 'listen' ? 'Rows arrive by PostgreSQL LISTEN/NOTIFY again' : `Rows arrive by polling every ${pollInterval} ms now`,
    stopped: (status) => status === 'stopped' ? 'Run was stopped' : `Run ${status}`,
    unavailable: () => 'The database cannot be read at the moment: rows follow once it can',
    reset: () => 'The log was started afresh: what was shown before is gone'
  }
  const all: Record<string, (arg: any) => string> = { ...defaults }
  for (const [name, make] of Object.entries(given) as Array<[keyof Texts, (arg: any) => string]>) {
    all[name] = (arg) => {
      try {
        const sentence = make(arg)
        if (typeof sentence === 'string') return sentence
      } catch {}
      return (defaults[name] as (arg: any) => string)(arg)
    }
  }
  return all as unknown as Texts
}
