import { EventParser, type StreamEvent } from '../../client/event-parser.ts'
import { Failure } from './failure.ts'
import { ask, isForNow, linked, refusal, Refused, retryAfter, type Endpoint } from './http.ts'

/** Milliseconds without a byte after which a link counts as dead: by default a plugin's heartbeats come four times as often. */
export const SILENCE = 60_000
/** Milliseconds that an app may take to answer. */
const PATIENCE = 30_000
/** Characters. A message has 16 MiB at most, and a character of it six in JSON. */
const MAX_EVENT = 256 * 1024 * 1024

/** Not now: an app that restarts, or a proxy before it, may think better of it. */
export class Busy extends Failure {
  /** Milliseconds; 0: it does not say. */
  readonly retryAfter: number

  constructor (message: string, retryAfter: number) {
    super(message)
    this.retryAfter = retryAfter
  }
}

export interface EventStream {
  response: Response
  /** As it comes, in any pieces; it ends where the stream ends, or is cut. Null: the run has ended, and all of it was sent. */
  text: AsyncGenerator<string> | null
}

export interface StreamRequest {
  query?: Record<string, string>
  lastEventId?: string | null
  /** Milliseconds. Default: a minute. */
  silence?: number
  signal: AbortSignal
}

/** @throws Failure where there is no answer, Busy, Refused where it is a no */
export async function openStream (endpoint: Endpoint, { query = {}, lastEventId = null, silence = SILENCE, signal }: StreamRequest): Promise<EventStream> {
  const url = new URL(endpoint.url)
  for (const [name, value] of Object.entries(query)) url.searchParams.set(name, value)
  const alarm = linked(signal)
  const patience = setTimeout(() => alarm.abort(new DOMException('', 'TimeoutError')), PATIENCE)
  let text: EventStream['text'] = null
  try {
    const response = await ask({ ...endpoint, url }, {
      accept: 'text/event-stream',
      ...lastEventId !== null && lastEventId !== '' && { 'last-event-id': lastEventId }
    }, alarm.signal)
    const { status, ok } = response
    if (!ok) {
      const why = `${endpoint.name} answers ${await refusal(response)}`
      throw isForNow(status) ? new Busy(why, retryAfter(response)) : new Refused(why, status)
    }
    if (status !== 204) {
      const type = response.headers.get('content-type') ?? 'no type'
      if (!type.startsWith('text/event-stream')) {
        throw new Refused(`${endpoint.name} answers with ${type}, not with an event stream: give the stream route, such as http://localhost:3000/logs/stream`, status)
      }
      text = read(response, alarm, silence)
    }
    return { response, text }
  } finally {
    clearTimeout(patience)
    // Of a request that gives no stream nothing stays, nor on the signal, which lives on.
    if (text === null) alarm.abort()
  }
}

async function * read ({ body }: Response, alarm: AbortController, silence: number): AsyncGenerator<string> {
  const decoder = new TextDecoder()
  try {
    const reader = body!.getReader()
    for (;;) {
      // Only while it waits: whoever reads this may take its time.
      const timer = setTimeout(() => alarm.abort(), silence)
      const { done, value } = await reader.read().finally(() => clearTimeout(timer))
      if (done) return
      yield decoder.decode(value, { stream: true })
    }
  } catch {
    // Cut off: whoever reads comes back.
  } finally {
    // Whoever has enough leaves no request behind.
    alarm.abort()
  }
}

/** @throws Failure where an event does not end */
export async function * eventsOf (text: AsyncGenerator<string>): AsyncGenerator<StreamEvent> {
  const parser = new EventParser()
  let length = 0
  for await (const chunk of text) {
    const events = parser.feed(chunk)
    length = events.length > 0 ? 0 : length + chunk.length
    if (length > MAX_EVENT) throw new Failure('this is no event stream: an event does not end')
    yield * events
  }
}
