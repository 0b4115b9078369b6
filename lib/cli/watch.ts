import type { Line } from './terminal.ts'

/** One look, as JSON and in lines. */
export interface Look {
  report: object
  lines: Line[]
  /** Nothing is wrong. */
  fine: boolean
}

/** What a monitor looks at. */
export interface Watched {
  name: string
  /** @throws whatever is in the way of a look: it is tried again */
  look (): Promise<Look>
}

/** A number, and what it was in the last minute. */
export function chart (name: string, value: number | null, spark: string, more = ''): Line {
  return [label(name), (value === null ? '-' : String(value)).padStart(8), '  ', ['cyan', spark], more]
}

export function label (name: string): string {
  return name.padEnd(13)
}
