import type { Blocker } from '../postgres/locks.ts'
import type { ListenerStatus } from '../tail/notify-listener.ts'
import { Failure } from './failure.ts'
import { History, Series } from './history.ts'
import { holderText } from './holder.ts'
import { ask, isForNow, linked, refusal, Refused, type Endpoint } from './http.ts'
import { TIMEOUT } from './server.ts'
import type { Line, Piece } from './terminal.ts'
import { chart, label, type Look, type Watched } from './watch.ts'

/** As lib/service.ts makes it; of another version some of it may be missing. */
interface Status {
  available: boolean
  listener: ListenerStatus
  notification_queues: { total_queues: number, total_notifications: number, queue_sizes: Record<string, number> }
  table?: string
  /** Null: there is none, as with SQLite. */
  channel?: string | null
  subscribers?: Record<'current' | 'max' | 'replaying' | 'lagged' | 'stalled' | 'rejected', number>
  gaps?: { open: number, first: string | null, held_back: boolean, held_by: Blocker[] }
  doorbell?: { state: string, rings: number, installed: string | null, missing: string[] }
  tailer?: { reads: number, rows: number }
  latency_ms?: { p50: number, p99: number } | null
}

/** Queues that are shown. */
const MAX_QUEUES = 10

/** One node, by its status route. */
export class StatusWatch implements Watched {
  readonly name: string
  readonly #endpoint: Endpoint
  readonly #signal: AbortSignal
  readonly #bells = new Series()
  readonly #rows = new Series()
  readonly #latency = new History()

  constructor (endpoint: Endpoint, signal: AbortSignal) {
    this.name = endpoint.name
    this.#endpoint = endpoint
    this.#signal = signal
  }

  async look (): Promise<Look> {
    const status = await this.#ask()
    const { listener, doorbell, tailer, latency_ms: latency } = status
    const now = performance.now()
    const bells = this.#bells.add(now, doorbell?.rings ?? null)
    const rows = this.#rows.add(now, tailer?.rows ?? null)
    this.#latency.add(now, latency?.p50 ?? null)
    return {
      report: { status, bells_per_second: bells, rows_per_second: rows },
      lines: describe(status, [
        chart('Bells/s', bells, this.#bells.spark()),
        chart('Rows/s', rows, this.#rows.spark()),
        chart('Latency ms', latency?.p50 ?? null, this.#latency.spark(), latency ? `  p50; p99 is ${latency.p99}` : '')
      ]),
      fine: status.available !== false && listener.running && listener.connection_healthy
    }
  }

  async #ask (): Promise<Status> {
    const alarm = linked(this.#signal)
    const timer = setTimeout(() => alarm.abort(new DOMException('', 'TimeoutError')), TIMEOUT)
    let status: Status | null = null
    let code: number
    try {
      const response = await ask(this.#endpoint, { accept: 'application/json' }, alarm.signal)
      if (!response.ok) {
        const why = `${this.name} answers ${await refusal(response)}`
        throw isForNow(response.status) ? new Failure(why) : new Refused(why, response.status)
      }
      code = response.status
      const text = await response.text().catch((cause) => { throw new Failure(`${this.name} stopped in the middle of its answer`, { cause }) })
      try {
        status = JSON.parse(text)
      } catch {}
    } finally {
      clearTimeout(timer)
      alarm.abort()
    }
    if (status?.listener === undefined || status.notification_queues === undefined) {
      throw new Refused(`${this.name} answers, but not with a status of fastify-pg-tail`, code)
    }
    return status
  }
}

function good (is: boolean, yes: string, no: string): Piece {
  return is ? ['green', yes] : ['red', no]
}

/** What may be long comes last: a low window cuts it off. */
function describe ({ listener, notification_queues: queues, table, channel, subscribers, gaps, doorbell }: Status, charts: Line[]): Line[] {
  const { state, mode, last_error: error, reconnect_attempts: attempts, max_reconnect_attempts: maxAttempts, pg_queue_usage_percent: usage } = listener
  // Nothing can ring: there is no queue of notifications, and no trigger.
  const silent = channel === null
  // Runs with the most frames first.
  const sizes = Object.entries(queues.queue_sizes).sort(([, a], [, b]) => b - a)
  return [
    [label('Listener'), good(listener.running, 'RUNNING', 'STOPPED'), ', connection ', good(listener.connection_healthy, 'HEALTHY', 'UNHEALTHY'), `, mode ${mode} (${state})`],
    ...attempts > 0 ? [[label(''), ['yellow', `reconnecting, try ${attempts} of ${maxAttempts}`]] as Line] : [],
    ...error === null ? [] : [[label(''), ['yellow', error]] as Line],
    [label('Log'), `${table ?? 'no table yet'}${channel ? `, channel ${channel}` : ''}`],
    ...charts,
    ...silent ? [] : [[label('PG queue'), usage === null ? 'usage not known yet' : `${usage} % used`] as Line],
    ...subscribers === undefined
      ? []
      : [[label('Subscribers'), `${subscribers.current} of ${subscribers.max}; ${subscribers.replaying} replaying, ${subscribers.lagged} lagged, ${subscribers.stalled} stalled, ${subscribers.rejected} rejected`] as Line],
    ...gaps === undefined
      ? []
      : [[label('Gaps'), `${gaps.open} open${gaps.first === null ? '' : `, from id ${gaps.first}`}`, ['red', gaps.held_back ? ', newer rows are held back' : '']] as Line],
    ...(gaps?.held_by ?? []).map((holder): Line => [label(''), ['yellow', holderText(holder)]]),
    ...doorbell === undefined || silent ? [] : [[label('Doorbell'), `${doorbell.state}, trigger: ${doorbell.installed ?? 'not known yet'}`] as Line],
    ...(doorbell?.missing ?? []).map((what): Line => [label(''), ['yellow', what]]),
    [label('Queues'), `${queues.total_queues}, with ${queues.total_notifications} frames`],
    ...sizes.slice(0, MAX_QUEUES).map(([run, size]): Line => [label(''), String(size).padStart(8), `  ${run === 'all' ? 'all runs' : `run ${run}`}`]),
    ...sizes.length > MAX_QUEUES ? [[label(''), `          and ${sizes.length - MAX_QUEUES} more`] as Line] : []
  ]
}
