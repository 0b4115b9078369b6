/** Milliseconds. A pause grows up to `longest`, where the server does not ask for more. */
const PAUSE = { shortest: 100, longest: 30_000, limit: 3_600_000 }

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

/** What an answer means that is no stream. */
export async function judge (response: Response): Promise<Outcome> {
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

/** Milliseconds until the next try, not the same for all: after so many failures in a row, and not before the server has asked for it. */
export function pauseAfter (retry: number, failures = 0, retryAfter = 0): number {
  const first = Math.max(retry, PAUSE.shortest)
  const pause = Math.min(first * 2 ** failures, Math.max(first, PAUSE.longest))
  return Math.min(Math.max(pause, retryAfter) * (1 + Math.random() / 2), PAUSE.limit)
}
