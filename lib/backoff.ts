import { MAX_TIMER } from './checks.ts'

export interface BackoffOptions {
  /** First delay, in milliseconds. Default: 2000. */
  initialDelay: number
  /** Largest delay, in milliseconds. Default: 60000. */
  maxDelay: number
}

/**
 * Delay before the given try, in milliseconds: 2, 4, 8, 16, 32, 60, 60 … s with the defaults.
 * Up to 20 % of jitter in either direction, so that a fleet does not come back all at once.
 * @param attempt counts from 1; Infinity for the largest delay
 * @param random 0 to 1, for tests
 */
export function backoff (attempt: number, { initialDelay, maxDelay }: BackoffOptions, random = Math.random()): number {
  const delay = Math.min(initialDelay * 2 ** (attempt - 1), maxDelay)
  return Math.min(Math.round(delay * (0.8 + 0.4 * random)), MAX_TIMER)
}
