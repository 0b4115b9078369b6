// Sides in turn, in short rounds: what drifts on the machine meets all of them alike.

export interface Summary { median: number, min: number, max: number }

/** One figure of one side: by round. */
export type Figures = Record<string, number[]>

/**
 * Measures each side once a round, in turn: A B C, C B A, … After a round that does not count.
 * @param measure resolves with the figure of a side
 */
export async function alternate (sides: readonly string[], rounds: number, measure: (side: string) => Promise<number>): Promise<Figures> {
  const figures: Figures = Object.fromEntries(sides.map((side) => [side, []]))
  for (let round = 0; round <= rounds; round++) {
    for (const side of round % 2 === 0 ? sides : [...sides].reverse()) {
      const figure = await measure(side)
      if (round > 0) figures[side]!.push(figure)
      console.log(`  ${round === 0 ? 'warm-up' : `round ${round}`}  ${side}: ${round3(figure)}`)
    }
  }
  return figures
}

/** Of a to b, round by round. */
export function ratios (a: readonly number[], b: readonly number[]): Summary {
  return summarize(a.map((value, i) => value / b[i]!))
}

export function summarize (values: readonly number[]): Summary {
  return { median: quantile(values, 0.5), min: Math.min(...values), max: Math.max(...values) }
}

/** @param q from 0 to 1; between two values the one nearer to it */
export function quantile (values: readonly number[], q: number): number {
  const sorted = [...values].sort((a, b) => a - b)
  return sorted[Math.round((sorted.length - 1) * q)] ?? NaN
}

function round3 (value: number): string {
  return value.toLocaleString('en', { maximumSignificantDigits: 3 })
}
