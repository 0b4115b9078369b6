// Sides in turn, in short rounds: what drifts on the machine meets all of them alike.

import { number } from './number.ts'

export interface Summary { median: number, min: number, max: number }

/** One figure of each side: by round. */
export type Figures = Record<string, number[]>

/**
 * Measures each side once a round, in turn: A B C, C B A, … After a round that does not count.
 * @param measure resolves with the figures of a side, by name; not each side must have all of them
 */
export async function alternate<Name extends string> (sides: readonly string[], rounds: number, measure: (side: string) => Promise<Partial<Record<Name, number>>>): Promise<Record<Name, Figures>> {
  const found: Record<string, Figures> = {}
  for (let round = 0; round <= rounds; round++) {
    for (const side of round % 2 === 0 ? sides : [...sides].reverse()) {
      const figures = Object.entries<number>(await measure(side) as Record<string, number>)
      console.log(`  ${round === 0 ? 'warm-up' : `round ${round}`}  ${side}: ${figures.map(([name, figure]) => `${name} ${number(figure)}`).join(', ')}`)
      if (round === 0) continue
      for (const [name, figure] of figures) ((found[name] ??= {})[side] ??= []).push(figure)
    }
  }
  return found as Record<Name, Figures>
}

/** Of a to b, round by round. */
export function ratios (a: readonly number[], b: readonly number[]): Summary {
  return summarize(a.map((value, i) => value / b[i]!))
}

export function summarize (values: readonly number[]): Summary {
  const sorted = [...values].sort((a, b) => a - b)
  const [below, above] = [Math.floor, Math.ceil].map((round) => sorted[round((sorted.length - 1) / 2)]!)
  return { median: (below! + above!) / 2, min: sorted[0]!, max: sorted.at(-1)! }
}

/** @param q from 0 to 1; between two values the one nearer to it */
export function quantile (values: readonly number[], q: number): number {
  const sorted = [...values].sort((a, b) => a - b)
  return sorted[Math.round((sorted.length - 1) * q)] ?? NaN
}
