import { openStream, Refused, SILENCE, type EventStream } from '../event-stream.ts'
import { errorText } from '../failure.ts'
import { linked, type Endpoint } from '../http.ts'
import { ok, problem, warning, type Finding, type Findings } from './finding.ts'
import { Heard } from './heard.ts'

/** Milliseconds from the head of the response to its first bytes: the plugin sends both at once. */
const FIRST_BYTES = 3000
/** Milliseconds until the first heartbeat: the start may have to wait for transactions. */
const START = 15_000
/** Milliseconds. */
const AFTERTHOUGHT = 250
/** Milliseconds between heartbeats that are not of one moment: there are two at the start. */
const APART = 50
/** Milliseconds that one heartbeat may take longer than another. */
const HELD_BACK = 1000
/** Milliseconds by which two clocks may differ. */
const CLOCKS = 2000
const BUFFERED = 'Rows come in lumps, or not at all.'
const UNBUFFER = ['nginx: proxy_buffering off; gzip off; proxy_http_version 1.1; in the location of the stream.',
  'Others: switch buffering and compression off for this path.']

/** What a browser would get, and when. @param heartbeat milliseconds, as the plugin has it */
export async function * checkStream (endpoint: Endpoint, heartbeat: number, interrupt: AbortSignal): Findings {
  const over = linked(interrupt)
  let stream: EventStream | null = null
  try {
    stream = await openStream(endpoint, { silence: Math.max(SILENCE, heartbeat * 2), signal: over.signal })
    if (stream.text === null) {
      yield problem('stream', `${endpoint.name} answers 204 to somebody new`, 'Nothing comes.', 'Give the stream route, such as http://localhost:3000/logs/stream')
      return
    }
    yield ok('stream', `${endpoint.name} answers with an event stream`)
    yield * checkHead(stream)
    yield * checkTimes(new Heard(stream.text), heartbeat)
  } catch (error) {
    if (interrupt.aborted) throw error
    yield problem('stream', errorText(error), 'A browser gets no rows either.', fix(error))
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

async function * checkTimes (heard: Heard, heartbeat: number): Findings {
  const asked = performance.now()
  if (await heard.until(({ any }) => any, FIRST_BYTES) === 'late') {
    yield problem('first bytes', `there were none for ${FIRST_BYTES / 1000} s, though the head of the response had come`, `Something on the way buffers. ${BUFFERED}`, ...UNBUFFER)
    return
  }
  if (heard.any) yield ok('first bytes', `they came after ${Math.round(performance.now() - asked)} ms`)
  const first = await heard.until(({ beats }) => beats.length > 0, Math.max(START, heartbeat * 1.5))
  const next = first === 'yes' ? await heard.until(({ beats }) => beats.at(-1)!.sent - beats[0]!.sent >= APART, heartbeat * 1.5) : first
  // The end of a run comes right behind a heartbeat.
  if (next === 'yes') await heard.until((heard) => heard.message('stopped') !== null, AFTERTHOUGHT)
  if (heard.message('stopped') !== null) yield warning('heartbeat', 'the run of this URL has ended', 'Nothing more will come.', 'Leave run_id out.')
  else if (next === 'end') yield problem('heartbeat', 'the stream ended', 'Something on the way cuts streams off, or the app closes.', 'Look into the log of the app, and for time-outs of proxies.')
  else if (next === 'late') {
    yield problem('heartbeat', `${first === 'late' ? 'there was none' : 'the second one did not come in time'}, with one each ${heartbeat / 1000} s`, `Something on the way buffers. ${BUFFERED}`,
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

function fix (error: unknown): string {
  const status = error instanceof Refused ? error.status : null
  if (status === 401 || status === 403) return "Say who you are: --header 'Authorization: Bearer …', or the cookie of a session."
  if (status === 404) return 'Give the stream route: the prefix and the path of the options, /logs/stream by default.'
  if (status !== null) return 'Give the stream route, and look into the log of the app.'
  return 'Start the app, or correct the URL. Where a proxy collects all of a response, the head does not come either: switch its buffering off.'
}
