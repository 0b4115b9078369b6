// What is alive in this process.

import type { EventEmitter } from 'node:events'
import { getHeapStatistics, setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'

setFlagsFromString('--expose-gc')
export const gc: () => void = runInNewContext('gc')

export const turn = () => new Promise<void>((resolve) => setImmediate(resolve))

/** Bytes. The least of some looks: what is on its way at one of them does not count. */
export async function heap (): Promise<number> {
  const sizes: number[] = []
  for (let i = 0; i < 3; i++) {
    await turn()
    gc()
    const { used_heap_size: used, external_memory: external } = getHeapStatistics()
    sizes.push(used + external)
  }
  return Math.min(...sizes)
}

/**
 * By how much they grow with each of so many steps from one to the next: the median of what each two
 * of them say, so that none counts for much.
 */
export function slope (sizes: readonly number[], steps: number): number {
  const slopes = sizes.flatMap((size, i) => sizes.slice(i + 1).map((later, j) => (later - size) / (j + 1) / steps)).sort((a, b) => a - b)
  return slopes[slopes.length >> 1]!
}

/** How often each name is there. */
export function count (names: readonly (string | symbol)[]): Record<string, number> {
  const counts: Record<string, number> = {}
  for (const name of names) counts[String(name)] = (counts[String(name)] ?? 0) + 1
  return counts
}

/** How many listeners each of its events has. */
export function listeners (emitter: EventEmitter): Record<string, number> {
  return count(emitter.eventNames().flatMap((name) => Array(emitter.listenerCount(name)).fill(name)))
}
