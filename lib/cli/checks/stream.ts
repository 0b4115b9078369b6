import { setTimeout as delay } from 'node:timers/promises'
import { openStream, Refused, type EventStream } from '../event-stream.ts'
import { errorText } from '../failure.ts'
import { linked, type Endpoint } from '../http.ts'
import type { SseBlock } from '../sse.ts'
import { ok, problem, warning, type Finding, type Findings } from './finding.ts'

/** Milliseconds from the head of the response to its first bytes: the plugin sends both at once. */
const FIRST_BYTES = 3000
/** Milliseconds until the first heartbeat: the start may have to wait for transactions. */
const START = 15_000
/** Milliseconds. */
const AFTERTHOUGHT = 250
const BUFFERED = 'Rows come in lumps, or not at all.'
const UNBUFFER = ['nginx: proxy_buffering off; gzip off; proxy_http_version 1.1; in the location of the stream.',
  'Others: switch buffering and compression off for this path.']

/** What a browser would get, and when. @param heartbeat milliseconds, as the plugin has it */
export async function * checkStream (endpoint: Endpoint, heartbeat: number, interrupt: AbortSignal): Findings {
  const over = linked(interrupt)
  let stream: EventStream | null = null
  try {
    stream = await openStream(endpoint, { signal: over.signal })
    if (stream.blocks === null) {
      yield problem('stream', `${endpoint.name} answers 204 to somebody new`, 'Nothing comes.', 'Give the stream route, such as http://localhost:3000/logs/stream')
      return
    }
    yield ok('stream', `${endpoint.name} answers with an event stream`)
    yield * checkHead(stream)
    yield * checkTimes(new Blocks(stream.blocks), heartbeat)
  } catch (error) {
    if (interrupt.aborted) throw error
    yield problem('stream', errorText(error), 'A browser gets no rows either.', mend(error))
  } finally {
    over.abort()
    await stream?.blocks?.return(undefined)
  }
}

function * checkHead ({ response: { headers } }: EventStream): Generator<Finding> {
  const encoding = headers.get('content-encoding')
  yield encoding === null || encoding === 'identity'
    ? ok('compression', 'there is none')
    : warning('compression', `something compresses the stream (content-encoding: ${encoding})`, `A compressor collects before it sends. ${BUFFERED}`, ...UNBUFFER)
  // Nginx obeys it and takes it off.
  const buffering = headers.get('x-accel-buffering')
  if (buffering !== null && buffering !== 'no') {
    yield warning('x-accel-buffering', `the header X-Accel-Buffering is ${buffering}`, 'It tells nginx to collect.', 'Leave the header to the plugin, which says no.')
  }
}

async function * checkTimes (blocks: Blocks, heartbeat: number): Findings {
  const asked = performance.now()
  const first = await blocks.find(() => true, FIRST_BYTES)
  if (first === 'late') {
    yield problem('first bytes', `there were none for ${FIRST_BYTES / 1000} s, though the head of the response had come`, `Something on the way buffers. ${BUFFERED}`, ...UNBUFFER)
    return
  }
  yield ok('first bytes', `they came after ${Math.round(performance.now() - asked)} ms`)
  const start = await blocks.find(isHeartbeat, START)
  const next = start instanceof Object ? await blocks.find(isHeartbeat, heartbeat * 1.5) : start
  // The end of a run comes right behind a heartbeat.
  if (next instanceof Object) await blocks.find(({ data }) => data !== null, AFTERTHOUGHT)
  if (blocks.message('stopped') !== null) yield warning('heartbeat', 'the run of this URL has ended', 'Nothing more will come.', 'Leave run_id out.')
  else if (next === 'end') yield problem('heartbeat', 'the stream ended', 'Something on the way cuts streams off, or the app closes.', 'Look into the log of the app, and for time-outs of proxies.')
  else if (next === 'late') {
    yield problem('heartbeat', `${start === 'late' ? 'there was none' : 'the second one did not come in time'}, with one each ${heartbeat / 1000} s`, `Something on the way buffers. ${BUFFERED}`,
      ...UNBUFFER, "Where the plugin's option heartbeat is longer: fastify-pg-tail doctor --heartbeat <seconds>")
  } else yield ok('heartbeat', 'they come when they should')
  if (blocks.message('connected')?.mode === 'poll' && blocks.message('mode')?.mode !== 'listen') {
    yield warning('mode', 'the node polls: it hears no bells', 'Rows are up to a second late.', 'Its log and its status route say why.')
  }
}

/** A block without data and retry. */
function isHeartbeat ({ data, retry }: SseBlock): boolean {
  return data === null && retry === null
}

/** What has come so far, and what comes. */
class Blocks {
  readonly #messages = new Map<string, Record<string, any>>()
  readonly #blocks: AsyncGenerator<SseBlock>
  #next: Promise<IteratorResult<SseBlock>> | null = null

  constructor (blocks: AsyncGenerator<SseBlock>) {
    this.#blocks = blocks
  }

  /** The last message of that type, or null. */
  message (type: string): Record<string, any> | null {
    return this.#messages.get(type) ?? null
  }

  async find (right: (block: SseBlock) => boolean, patience: number): Promise<SseBlock | 'late' | 'end'> {
    const late = new AbortController()
    const timer = delay(patience, 'late' as const, { signal: late.signal }).catch(() => 'late' as const)
    try {
      for (;;) {
        this.#next ??= this.#blocks.next()
        const result = await Promise.race([this.#next, timer])
        if (result === 'late') return 'late'
        this.#next = null
        if (result.done) return 'end'
        this.#note(result.value)
        if (right(result.value)) return result.value
      }
    } finally {
      late.abort()
    }
  }

  #note ({ data }: SseBlock): void {
    try {
      const message = JSON.parse(data ?? 'null')
      if (typeof message?.type === 'string') this.#messages.set(message.type, message)
    } catch {}
  }
}

function mend (error: unknown): string {
  const { message } = error as Error
  if (/answers 40[13]/.test(message)) return "Say who you are: --header 'Authorization: Bearer …', or the cookie of a session."
  if (/answers 404/.test(message)) return 'Give the stream route: the prefix and the path of the options, /logs/stream by default.'
  if (error instanceof Refused) return 'Give the stream route, and look into the log of the app.'
  return 'Start the app, or correct the URL. Where a proxy collects all of a response, the head does not come either: switch its buffering off.'
}
