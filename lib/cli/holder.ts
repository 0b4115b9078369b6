import type { Blocker } from '../postgres/locks.ts'

/** Somebody who keeps gaps open. */
export function holderText ({ pid, gid, state, age_seconds: age }: Blocker): string {
  return `${pid === null ? `prepared transaction ${gid ?? 'of unknown name'}` : `pid ${pid}, ${state}`}${age === null ? '' : `, for ${age} s`}`
}
