import { openStream, SILENCE, type EventStream } from '../event-stream.ts'
import { errorText } from '../failure.ts'
import { isLate, linked, Refused, remedyOf, type Endpoint } from '../http.ts'
import { ok, problem, warning, type Finding, type Findings } from './finding.ts'
import { Heard } from './heard.ts'

/** Milliseconds from the request to the first bytes of the body: the plugin sends them with the head. */
const FIRST_BYTES = 3000
/** A level that no row has: rows would push the heartbeats through whatever collects. */
const NO_ROW = 'fastify_pg_tail_doctor'
/** Milliseconds until the first heartbeat: the start may have to wait for transactions. */
const START = 15_000
/** Milliseconds. */
const AFTERTHOUGHT = 250
/** Milliseconds between heartbeats that are not of one moment: there are two at the start. */
const APART = 50
/** Milliseconds that the second heartbeat may come later than it should: whoever sends it may be busy. */
const SLACK = 5000
/** Milliseconds that one heartbeat may take longer than another. */
const HELD_BACK = 1000
/** Milliseconds by which two clocks may differ. */
const CLOCKS = 2000
const BUFFERED = 'Rows come in lumps, or not at all.'
const COLLECTS = `Something on the way buffers. ${BUFFERED}`
const UNBUFFER = ['nginx: proxy_buffering off; gzip off; proxy_http_version 1.1; in the location of the stream.',
  'Others: switch buffering and compression off for this path.']

/** What a browser would get, and when. @param heartbeat milliseconds, as the plugin has it */
export async function * checkStream (endpoint: Endpoint, heartbeat: number, interrupt: AbortSignal): Findings {
  const over = linked(interrupt)
  let stream: EventStream | null = null
  const asked = performance.now()
  try {
    stream = await openStream(fromNow(endpoint), { query: { level: NO_ROW }, silence: Math.max(SILENCE, heartbeat * 2), signal: over.signal })
    if (stream.text === null) {
      yield problem('stream', `${endpoint.name} answers 204 to somebody new`, 'Nothing comes.', 'Give the stream route, such as http://localhost:3000/logs/stream')
      return
    }
    yield ok('stream', `${endpoint.name} answers with an event stream`)
    yield * checkHead(stream)
    yield * checkTimes(new Heard(stream.text), asked, heartbeat, endpoint)
  } catch (error) {
    if (interrupt.aborted) throw error
    yield problem('stream', errorText(error), 'A browser gets no rows either.', ...fix(error, endpoint))
  } finally {
    over.abort()
    await stream?.text?.return(undefined)
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

/** @param asked when the request went out, by `performance.now()`: a proxy that collects may hold back the head as well */
async function * checkTimes (heard: Heard, asked: number, heartbeat: number, endpoint: Endpoint): Findings {
  if (await heard.until(({ any }) => any, FIRST_BYTES) === 'late') {
    yield problem('first bytes', `there were none for ${FIRST_BYTES / 1000} s, though the head of the response had come`, COLLECTS, ...UNBUFFER)
    return
  }
  if (heard.any) {
    const took = performance.now() - asked
    yield took < FIRST_BYTES
      ? ok('first bytes', `they came after ${Math.round(took)} ms`)
      : problem('first bytes', `they came no sooner than ${inSeconds(took)} after the request`, `${COLLECTS} Or the app is slow to answer.`, ...UNBUFFER, compare(endpoint))
  }
  const first = await heard.until(({ beats }) => beats.length > 0, Math.max(START, heartbeat * 1.5))
  const next = first === 'yes' ? await heard.until(({ beats }) => beats.at(-1)!.sent - beats[0]!.sent >= APART, Math.max(heartbeat * 1.5, heartbeat + SLACK)) : first
  // A stream of all runs tells of ends, too, and goes on.
  const isOver = () => endpoint.url.searchParams.has('run_id') && heard.message('stopped') !== null
  // The end of a run comes right behind a heartbeat.
  if (next === 'yes') await heard.until(isOver, AFTERTHOUGHT)
  if (isOver()) yield warning('heartbeat', 'the run of this URL has ended', 'Nothing more will come.', 'Leave run_id out.')
  else if (next === 'end') yield problem('heartbeat', 'the stream ended', 'Something on the way cuts streams off, or the app closes.', 'Look into the log of the app, and for time-outs of proxies.')
  else if (next === 'late') {
    yield problem('heartbeat', `${first === 'late' ? 'there was none' : 'the second one did not come in time'}, with one each ${heartbeat / 1000} s`, COLLECTS,
      ...UNBUFFER, "Where the plugin's option heartbeat is longer: fastify-pg-tail doctor --heartbeat <seconds>")
  } else yield checkDelays(heard)
  if (heard.message('connected')?.mode === 'poll' && heard.message('mode')?.mode !== 'listen') {
    yield warning('mode', 'the node polls: it hears no bells', 'Rows are up to a second late.', 'Its log and its status route say why.')
  }
}

/** Each says when it was sent. How much longer one takes than another does not depend on the clocks. */
function checkDelays ({ beats }: Heard): Finding {
  const delays = beats.map(({ sent, came }) => came - sent)
  const least = Math.min(...delays)
  const held = Math.max(...delays) - least
  if (held > HELD_BACK) {
    return problem('heartbeat', `one took ${inSeconds(held)} longer than another`, `Something on the way collects, and sends now and then. ${BUFFERED}`, ...UNBUFFER)
  }
  if (least > CLOCKS) {
    return warning('heartbeat', `all come ${inSeconds(least)} after the time that they say`, 'The clocks of here and there differ, or something on the way holds everything back for so long.',
      'Compare the clocks: date -u', ...UNBUFFER)
  }
  return ok('heartbeat', 'they come when they should')
}

function inSeconds (milliseconds: number): string {
  return `${Math.round(milliseconds / 100) / 10} s`
}

/** Where to begin is for whoever watches: here nothing shall come but heartbeats. */
function fromNow (endpoint: Endpoint): Endpoint {
  const url = new URL(endpoint.url)
  for (const name of ['tail', 'after']) url.searchParams.delete(name)
  return { ...endpoint, url }
}

/** Of a proxy and a slow app one is left then. */
function compare ({ url }: Endpoint): string {
  return `To compare, ask the app itself: fastify-pg-tail doctor --url http://<host and port of the app>${url.pathname}`
}

function fix (error: unknown, endpoint: Endpoint): string[] {
  if (error instanceof Refused) return [remedyOf(error, 'stream')]
  if (!isLate(error)) return ['Start the app, or correct the URL.']
  return ['Most likely something on the way buffers: on a quiet table not even the head of the response comes then.', ...UNBUFFER, compare(endpoint)]
}
