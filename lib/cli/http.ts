import type { Arguments, OptionSet } from './arguments.ts'
import { Failure, UsageError, errorText } from './failure.ts'

export const HEADER: OptionSet = {
  header: { type: 'string', multiple: true, value: "'Name: value'", text: 'Sent along to the URL' }
}

/** A route of an app, and how to ask it. */
export interface Endpoint {
  url: URL
  headers: Record<string, string>
  /** To be shown: without what may be secret. */
  name: string
}

/** What an app serves: its path by default. */
export type Route = 'stream' | 'status'

/** @throws UsageError */
export function readEndpoint (args: Arguments, route: Route): Endpoint | null {
  const given = args.text('url')
  if (given === undefined) {
    args.refuse(['header'], 'goes with --url')
    return null
  }
  const url = URL.canParse(given) ? new URL(given) : null
  if (url === null || !/^https?:$/.test(url.protocol)) throw new UsageError(`--url is no URL: give the whole of it, such as http://localhost:3000/logs/${route}`)
  const headers: Record<string, string> = {}
  for (const each of args.list('header')) {
    const [, name, value] = /^([\w!#$%&'*+.^`|~-]+):\s*(.*)$/.exec(each) ?? []
    // It may be a secret under a wrong form: it is not repeated.
    if (name === undefined || /[^\t\x20-\xff]/.test(value!)) throw new UsageError("--header is no header: give it as 'Name: value'")
    headers[name.toLowerCase()] = value!
  }
  // fetch() refuses URLs with a password in them.
  if (url.username !== '' || url.password !== '') {
    headers.authorization ??= `Basic ${Buffer.from(`${decoded(url.username)}:${decoded(url.password)}`).toString('base64')}`
    url.username = url.password = ''
  }
  return { url, headers, name: url.origin + url.pathname }
}

/** @throws UsageError */
function decoded (part: string): string {
  try {
    return decodeURIComponent(part)
  } catch {
    throw new UsageError('--url is no URL: write a % in its user or password as %25')
  }
}

/** The app will not give what it was asked for, and why: it is no use to ask again. */
export class Refused extends Failure {
  readonly status: number

  constructor (message: string, status: number) {
    super(message)
    this.status = status
  }
}

/** Whether an app that answers so may think better of it. */
export function isForNow (status: number): boolean {
  return status >= 500 || [408, 425, 429].includes(status)
}

/** What helps whoever is refused. */
export function remedyOf ({ status }: Refused, route: Route): string {
  if (status === 401 || status === 403) return "Say who you are: --header 'Authorization: Bearer …', or the cookie of a session."
  if (status === 404) return `Give the ${route} route: the prefix and the path of the options, /logs/${route} by default.`
  if (status < 300) return `That is another route: it is the prefix and the path of the options, /logs/${route} by default.`
  return `Give the ${route} route, and look into the log of the app.`
}

/** Aborts with the signal, or by itself. Node 20 may forget a signal that `AbortSignal.any()` has made while the body is still read. */
export function linked (signal: AbortSignal): AbortController {
  const controller = new AbortController()
  const abort = () => controller.abort(signal.reason)
  if (signal.aborted) abort()
  signal.addEventListener('abort', abort, { once: true })
  controller.signal.addEventListener('abort', () => signal.removeEventListener('abort', abort), { once: true })
  return controller
}

/** @throws Failure where there is no answer */
export async function ask ({ url, headers, name }: Endpoint, more: Record<string, string>, signal: AbortSignal): Promise<Response> {
  try {
    return await fetch(url, { headers: { ...headers, ...more }, signal })
  } catch (error) {
    if ((error as Error).name === 'TimeoutError') throw new Failure(`${name} does not answer`, { cause: error })
    throw new Failure(`${name} cannot be reached: ${errorText(error)}`, { cause: error })
  }
}

/** Whether there was no answer in time, though somebody listens there. */
export function isLate (error: unknown): boolean {
  return ((error as Error).cause as Error | undefined)?.name === 'TimeoutError'
}

const MAX_ANSWER = 4096

/** What an app says in place of what it was asked for: its message, if there is one. */
export async function refusal (response: Response): Promise<string> {
  const body = (await response.text().catch(() => '')).slice(0, MAX_ANSWER)
  let message = ''
  try {
    message = String(JSON.parse(body).message ?? '')
  } catch {}
  return `${response.status} ${response.statusText}${message && `: ${message}`}`
}

/** Milliseconds after which the app would like to be asked again; 0: it does not say. */
export function retryAfter ({ headers }: Response): number {
  const text = headers.get('retry-after') ?? ''
  const wait = /^\d+$/.test(text) ? Number(text) * 1000 : Date.parse(text) - Date.now()
  return wait > 0 ? wait : 0
}
