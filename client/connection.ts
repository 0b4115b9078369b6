import { EventParser, type StreamEvent } from './event-parser.ts'

/** How a connection came to its end. */
export type Outcome =
  /** We hung up. */
  | { kind: 'left' }
  /** 204: all of it is here. */
  | { kind: 'over' }
  | { kind: 'refused', message: string }
  /** Not now: the network, the server, or a proxy before it. */
  | { kind: 'failed', message: string, retryAfter: number }
  /** It was open, and ended. */
  | { kind: 'cut' }

export interface ConnectionOptions {
  url: URL
  headers: Record<string, string>
  credentials: RequestCredentials
  /** What is there already; null: the URL says where to start. */
  lastEventId: string | null
  /** Hangs up. */
  signal: AbortSignal
  /** Milliseconds without a byte after which the link is dead. */
  timeout: number
  onevents: (events: StreamEvent[]) => void
}

/**
 * One request for the stream, read by hand: EventSource tells neither status codes nor ids without an event, and gives up on a 503.
 * Never rejects.
 */
export async function connect ({ url, headers, credentials, lastEventId, signal, timeout, onevents }: ConnectionOptions): Promise<Outcome> {
  const silence = new AbortController()
  let heard = performance.now()
  const watch = setInterval(() => {
    if (performance.now() - heard > timeout) silence.abort()
  }, Math.min(timeout, 5000))
  let open = false
  try {
    const response = await fetch(url, {
      headers: { ...headers, accept: 'text/event-stream', ...lastEventId !== null && { 'last-event-id': lastEventId } },
      credentials,
      cache: 'no-store',
      signal: AbortSignal.any([signal, silence.signal])
    })
    heard = performance.now()
    if (response.status !== 200 || response.body === null) return await judge(response)
    if (!response.headers.get('content-type')?.startsWith('text/event-stream')) {
      silence.abort()
      return { kind: 'refused', message: 'The answer is no event stream' }
    }
    open = true
    const parser = new EventParser()
    // A byte order mark at the start is taken off, too.
    const decoder = new TextDecoder()
    const reader = response.body.getReader()
    for (let chunk; !(chunk = await reader.read()).done;) {
      heard = performance.now()
      if (signal.aborted) break
      const events = parser.feed(decoder.decode(chunk.value, { stream: true }))
      if (events.length > 0) onevents(events)
    }
    return { kind: signal.aborted ? 'left' : 'cut' }
  } catch (error) {
    if (signal.aborted) return { kind: 'left' }
    if (open) return { kind: 'cut' }
    const message = silence.signal.aborted ? 'The server does not answer' : 'The server cannot be reached'
    return { kind: 'failed', message, retryAfter: 0 }
  } finally {
    clearInterval(watch)
    // Whatever came of it, nothing is left open.
    silence.abort()
  }
}

async function judge (response: Response): Promise<Outcome> {
  const { status } = response
  if (status === 204) return { kind: 'over' }
  const text = await response.text().catch(() => '')
  const message = sentence(text) ?? `The server answered ${status}`
  const later = status >= 500 || status === 408 || status === 425 || status === 429
  return later ? { kind: 'failed', message, retryAfter: milliseconds(response.headers.get('retry-after')) } : { kind: 'refused', message }
}

/** Of Fastify's errors, and of most others that are JSON. */
function sentence (text: string): string | undefined {
  try {
    const { message } = JSON.parse(text)
    if (typeof message === 'string' && message !== '') return message
  } catch {}
}

function milliseconds (retryAfter: string | null): number {
  if (retryAfter === null) return 0
  const wait = /^\d+$/.test(retryAfter) ? Number(retryAfter) * 1000 : Date.parse(retryAfter) - Date.now()
  return wait > 0 ? wait : 0
}
