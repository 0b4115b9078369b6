/** What was typed is not right: exit 2. */
export class UsageError extends Error {
  /** The command whose help says more; null: the program's. */
  command: string | null = null
}

/** Something is wrong, in a sentence for whoever typed the command: exit 1. */
export class Failure extends Error {}

/** What went wrong, in words, and never with a password. */
export function errorText (error: unknown): string {
  const { message, code, cause, errors: several } = error as { message?: string, code?: string, cause?: unknown, errors?: unknown[] }
  // Node says little of a name with several addresses, and fetch() of everything.
  if (several !== undefined && several.length > 0) return errorText(several[0])
  if (message === 'fetch failed' && cause !== undefined) return errorText(cause)
  return withoutPasswords(message || code || String(error))
}

/** The example in our own sentences, where it is the whole of it; or what is up to the host of a URL. */
const URLS = /postgres:\/\/user:password@host:5432\/database(?![^\s,;])|([a-z][a-z\d+.-]*:\/\/)[^\s'"]*@/gi

/** Whoever writes a password with an @ or a slash in it writes no URL; its end is the last @ then. */
export function withoutPasswords (text: string): string {
  return text.replace(/(password=)[^\s&'"]*/gi, '$1***').replace(URLS, (url, scheme?: string) => scheme === undefined ? url : `${scheme}***@`)
}

const UNREACHABLE = /^(E[A-Z]+|CONNECT.*|28...|3D000|53300|57P03)$/

/** Whether there is no session to be had. */
export function isUnreachable (error: unknown): boolean {
  return UNREACHABLE.test((error as { code?: string }).code ?? '')
}

export function isTimeout (error: unknown): boolean {
  return (error as { code?: string }).code === 'FST_PG_TAIL_TIMEOUT'
}

/** That nobody answers is said as such. */
export function asFailure (error: unknown): unknown {
  return isUnreachable(error) || isTimeout(error) ? new Failure(`PostgreSQL cannot be reached: ${errorText(error)}`, { cause: error }) : error
}
