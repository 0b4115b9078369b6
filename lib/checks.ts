// Each returns what it was given, or throws FST_PG_TAIL_OPTION with the name, what came, and what would be right.

import { errors } from './errors.ts'

/** Milliseconds. A longer timer of Node's would be over at once. */
export const MAX_TIMER = 2 ** 31 - 1

/** @param right what to give instead */
export function wrong (name: string, came: unknown, right: string): Error {
  const text = inJson(came)
  // A URL or an instance may carry a password: only its type is told.
  const secret = /connection|sql|options/i.test(name) || text.includes('://')
  const shown = secret ? typeof came : text.slice(0, 80)
  return new errors.Option(name, shown, right)
}

function inJson (value: unknown): string {
  try {
    return JSON.stringify(value) ?? String(value)
  } catch {
    // A bigint, or what holds itself.
    return typeof value
  }
}

export function text (name: string, value: unknown, right = 'give a text that is not empty'): string {
  if (typeof value !== 'string' || value.trim() === '' || value.includes('\0')) throw wrong(name, value, right)
  return value
}

export function integer (name: string, value: unknown, min: number, max: number): number {
  if (!Number.isInteger(value) || (value as number) < min || (value as number) > max) {
    throw wrong(name, value, `give an integer from ${min} to ${max}`)
  }
  return value as number
}

export function milliseconds (name: string, value: unknown): number {
  return integer(name, value, 1, MAX_TIMER)
}

export function oneOf<const T> (name: string, value: unknown, allowed: readonly T[]): T {
  if (!allowed.includes(value as T)) throw wrong(name, value, `give one of ${allowed.map((each) => JSON.stringify(each)).join(', ')}`)
  return value as T
}

/** @param known names of what it may hold; none: it may hold anything */
export function object<T extends object> (name: string, value: T, known?: readonly string[]): T {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw wrong(name, value, 'give an object')
  for (const [each, held] of Object.entries(value)) if (known !== undefined && !known.includes(each)) throw unknown(`${name}.${each}`, held, known)
  return value
}

/** It may be a password under a wrong name: only its type is told. */
export function unknown (name: string, value: unknown, known: readonly string[]): Error {
  return new errors.Option(name, typeof value, `there is no such option; there are ${known.join(', ')}`)
}
