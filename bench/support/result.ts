// What a part of the benchmark has found, as it is written to bench/results.

import { ratios, summarize, type Figures, type Summary } from './rounds.ts'

export interface Comparison {
  /** What was done, with how many. */
  what: string
  /** Our side. */
  ours: string
  /** The side that it is held against. */
  other: string
  /** Ours to the other, round by round. */
  ratio: Summary
  /** What the ratio should be; none where the other is only shown beside. */
  target?: { atLeast: number } | { atMost: number }
  figures: Record<string, Summary>
  /** The same by round. */
  rounds: Figures
  unit: string
}

export interface Result {
  command: string
  /** Packages as they are installed. */
  machine: { cpu: string, cores: number, memory: string, node: string, postgres: string, packages: Record<string, string> }
  /** The day, and the commit that was checked out; a plus after it: with changes. */
  measured: { date: string, commit: string }
  part: string
  about: string
  comparisons: Comparison[]
}

export function compare (what: string, unit: string, figures: Figures, ours: string, other: string, target?: Comparison['target']): Comparison {
  return {
    what,
    ours,
    other,
    ratio: ratios(figures[ours]!, figures[other]!),
    ...target && { target },
    figures: Object.fromEntries([ours, other].map((side) => [side, summarize(figures[side]!)])),
    rounds: Object.fromEntries([ours, other].map((side) => [side, figures[side]!.map((value) => Number(value.toPrecision(4)))])),
    unit
  }
}

export function meets ({ ratio, target }: Comparison): boolean | null {
  if (target === undefined) return null
  return 'atLeast' in target ? ratio.median >= target.atLeast : ratio.median <= target.atMost
}
