import { EventParser, type StreamEvent } from './event-parser.ts'
import { judge, type Outcome } from './outcome.ts'

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
  /** Something has come of an event that has not come to its end. */
  onpart: () => void
}

/**
 * One request for the stream, read by hand: EventSource tells neither status codes nor ids without an event, and gives up on a 503.
 * Never rejects.
 */
export async function connect ({ url, headers, credentials, lastEventId, signal, timeout, onevents, onpart }: ConnectionOptions): Promise<Outcome> {
  if (signal.aborted) return { kind: 'left' }
  const request = new AbortController()
  const hangUp = () => request.abort()
  signal.addEventListener('abort', hangUp, { once: true })
  let heard = performance.now()
  const watch = setInterval(() => {
    if (performance.now() - heard > timeout) hangUp()
  }, Math.min(timeout, 5000))
  let open = false
  try {
    const response = await fetch(url, {
      headers: { ...headers, accept: 'text/event-stream', ...lastEventId !== null && { 'last-event-id': lastEventId } },
      credentials,
      cache: 'no-store',
      signal: request.signal
    })
    heard = performance.now()
    if (response.status !== 200 || response.body === null) {
      const outcome = await judge(response)
      return signal.aborted ? { kind: 'left' } : outcome
    }
    if (!response.headers.get('content-type')?.startsWith('text/event-stream')) return { kind: 'refused', message: 'The answer is no event stream' }
    open = true
    const parser = new EventParser()
    // A byte order mark at the start is taken off, too.
    const decoder = new TextDecoder()
    const reader = response.body.getReader()
    for (let chunk; !(chunk = await reader.read()).done;) {
      heard = performance.now()
      if (signal.aborted) break
      const events = parser.feed(decoder.decode(chunk.value, { stream: true }))
      if (parser.partial) onpart()
      if (events.length > 0) onevents(events)
    }
    return { kind: signal.aborted ? 'left' : 'cut' }
  } catch (error) {
    if (signal.aborted) return { kind: 'left' }
    if (open) return { kind: 'cut' }
    const message = request.signal.aborted ? 'The server does not answer' : 'The server cannot be reached'
    return { kind: 'failed', message, retryAfter: 0 }
  } finally {
    clearInterval(watch)
    signal.removeEventListener('abort', hangUp)
    // Whatever came of it, nothing is left open.
    hangUp()
  }
}
