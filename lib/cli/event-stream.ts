import { Failure } from './failure.ts'
import { ask, linked, refusal, type Endpoint } from './http.ts'
import { SseParser, type SseBlock } from './sse.ts'

/** Milliseconds without a byte after which a link counts as dead: a plugin's heartbeats come four times as often. */
const SILENCE = 60_000
/** Milliseconds that an app may take to answer. */
const PATIENCE = 30_000

/** The app will not give a stream, and why: it is no use to ask again. */
export class Refused extends Failure {}

export interface EventStream {
  response: Response
  /** Null: the run has ended, and all of it was sent. */
  blocks: AsyncGenerator<SseBlock> | null
}

export interface StreamRequest {
  query?: Record<string, string>
  lastEventId?: string | null
  signal: AbortSignal
}

/** @throws Failure where there is no answer, Refused where it is a no */
export async function openStream (endpoint: Endpoint, { query = {}, lastEventId = null, signal }: StreamRequest): Promise<EventStream> {
  const url = new URL(endpoint.url)
  for (const [name, value] of Object.entries(query)) url.searchParams.set(name, value)
  const alarm = linked(signal)
  const patience = setTimeout(() => alarm.abort(new DOMException('', 'TimeoutError')), PATIENCE)
  let response: Response
  try {
    response = await ask({ ...endpoint, url }, {
      accept: 'text/event-stream',
      ...lastEventId !== null && lastEventId !== '' && { 'last-event-id': lastEventId }
    }, alarm.signal)
  } finally {
    clearTimeout(patience)
  }
  if (response.status === 204) return { response, blocks: null }
  if (!response.ok) {
    const why = `${endpoint.name} answers ${await refusal(response)}`
    // An app that restarts, or a proxy before it, may think better of it.
    throw response.status >= 500 || response.status === 408 || response.status === 429 ? new Failure(why) : new Refused(why)
  }
  const type = response.headers.get('content-type') ?? 'no type'
  if (!type.startsWith('text/event-stream')) {
    await response.body?.cancel()
    throw new Refused(`${endpoint.name} answers with ${type}, not with an event stream: give the stream route, such as http://localhost:3000/logs/stream`)
  }
  return { response, blocks: read(response, alarm) }
}

/** Ends where the stream ends, or is cut. */
async function * read ({ body }: Response, alarm: AbortController): AsyncGenerator<SseBlock> {
  if (body === null) return
  const parser = new SseParser()
  const decoder = new TextDecoder()
  const hush = () => alarm.abort(new DOMException('', 'TimeoutError'))
  let silence = setTimeout(hush, SILENCE)
  try {
    for await (const chunk of body) {
      clearTimeout(silence)
      silence = setTimeout(hush, SILENCE)
      yield * parser.feed(decoder.decode(chunk as Uint8Array, { stream: true }))
    }
  } catch (error) {
    if (error instanceof Failure) throw error
    // Cut off: whoever reads comes back.
  } finally {
    clearTimeout(silence)
    // Whoever has enough leaves no request behind.
    alarm.abort()
  }
}
