export type Level = 'ok' | 'warning' | 'problem'

/** What doctor has found out. */
export interface Finding {
  /** What was looked at, in one word. */
  check: string
  level: Level
  /** A sentence. */
  what: string
  /** Why it matters; not of what is fine. */
  why?: string
  /** What fixes it: commands, or what is to be done. */
  fix?: string[]
}

export type Findings = AsyncGenerator<Finding, void>

export function ok (check: string, what: string): Finding {
  return { check, level: 'ok', what }
}

export function warning (check: string, what: string, why: string, ...fix: string[]): Finding {
  return { check, level: 'warning', what, why, fix }
}

export function problem (check: string, what: string, why: string, ...fix: string[]): Finding {
  return { check, level: 'problem', what, why, fix }
}

export function plural (count: number, one: string, many = `${one}s`): string {
  return `${count} ${count === 1 ? one : many}`
}
