/** Pages of an origin agree by locks and channels. The number is that of what they say: those of another version are strangers. */
export const PREFIX = 'fastify-pg-tail 1'

/** Null where pages cannot agree: there are locks in a secure context only, and a sandboxed frame may have neither locks nor channels. */
export function openChannel (name: string): BroadcastChannel | null {
  try {
    return navigator.locks === undefined ? null : new BroadcastChannel(name)
  } catch {
    return null
  }
}

/** Milliseconds before a lock is asked for again where that was aborted, and not by us: a browser may do so each time. */
const AGAIN = 1000

export interface Claim {
  /** The lock is ours until `release` is called. */
  ongrant: (release: () => void) => void
  /** It was taken from us, maybe before we knew that we had it: it has to be asked for again. */
  onloss: () => void
  /** The browser has locks, but not for this page: a sandboxed frame, blocked site data. */
  onrefusal: () => void
}

/** Asks for a lock. A signal in the options withdraws that; after it nothing is called, but for a lock that was granted before. */
export function claim (name: string, options: LockOptions, { ongrant, onloss, onrefusal }: Claim): void {
  let granted = false
  let gone = false
  navigator.locks.request(name, options, () => {
    // Granted and stolen while the page was suspended: WebKit tells of that first.
    if (gone) return
    granted = true
    return new Promise<void>(ongrant)
  }).catch((error: Error) => {
    gone = true
    if (granted) return onloss()
    if (options.signal?.aborted) return
    if (error.name !== 'AbortError') return onrefusal()
    setTimeout(() => { if (!options.signal?.aborted) onloss() }, AGAIN)
  })
}

export function isHidden (): boolean {
  return typeof document === 'object' && document.hidden
}
