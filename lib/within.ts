import { setTimeout as delay } from 'node:timers/promises'

/**
 * Waits for an answer, but no longer than that. Rejects as the question does.
 * @param milliseconds after which `otherwise` is the answer
 * @param ask gets a function that says whether anybody still waits for it
 */
export async function within<T> (milliseconds: number, otherwise: T, ask: (isWanted: () => boolean) => Promise<T>): Promise<T> {
  const until = performance.now() + milliseconds
  return Promise.race([ask(() => performance.now() < until), delay(milliseconds, otherwise, { ref: false })])
}
