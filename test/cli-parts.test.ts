// Parts of the command line that need no server: what a terminal gets, heartbeats in any chunks, numbers over time.
import fc from 'fast-check'
import t from 'tap'
import { Heard } from '../lib/cli/checks/heard.ts'
import { levelOf } from '../lib/cli/checks/transactions.ts'
import { errorText } from '../lib/cli/failure.ts'
import { History, Rate, Series } from '../lib/cli/history.ts'
import { readTime } from '../lib/cli/tail.ts'
import { harmless, Terminal } from '../lib/cli/terminal.ts'

t.test('no text drives a terminal or breaks its line', async (t) => {
  let out = ''
  const screen = { write: (text: string) => { out += text }, isTTY: true, rows: 10 }
  const terminal = new Terminal(screen, screen, { TERM: 'xterm' })
  const nasty = fc.string({ unit: fc.oneof(fc.integer({ min: 0, max: 0x9f }), fc.constantFrom(0x2028, 0x2029, 0x202e, 0x2066, 0xfeff, 0x1f4e6)).map((code) => String.fromCodePoint(code)) })
  fc.assert(fc.property(nasty, (text) => {
    out = ''
    terminal.line(text, ['red', text])
    terminal.say(text)
    terminal.json({ text })
    const lines = out.split('\n')
    const [shown, , json] = lines
    // eslint-disable-next-line no-control-regex
    const rest = out.replaceAll('\n', '').replace(/\x1b\[(31|0)m/g, '')
    return lines.length === 4 && !/[\p{Cc}\p{Zl}\p{Zp}\p{Bidi_Control}]/u.test(rest) && shown!.startsWith(harmless(text)) && JSON.parse(json!).text === text
  }))
})

t.test('what is drawn again fits, and begins where the last one began', async (t) => {
  const written: string[] = []
  const screen = { write: (text: string) => { written.push(text) }, isTTY: true, rows: 4 }
  const terminal = new Terminal(screen, screen, {})
  terminal.redraw([['a'], ['b'], ['c'], ['d'], ['e']])
  terminal.redraw([['f']])
  terminal.redraw([['g']])
  t.same(written, ['\x1b[?7la\x1b[K\nb\x1b[K\n\x1b[2m… 3 more lines: the window is too low\x1b[0m\x1b[K\n\x1b[J\x1b[?7h', '\x1b[3A\r\x1b[?7lf\x1b[K\n\x1b[J\x1b[?7h', '\x1b[1A\r\x1b[?7lg\x1b[K\n\x1b[J\x1b[?7h'])
})

t.test('heartbeats are heard in whatever chunks they come, also where they are no events', async (t) => {
  const text = 'retry: 2000\n\n: heartbeat 2026-01-21T10:00:00.000Z\r\nid: 7\r\n\r\ndata: {"type":"connected","mode":"poll"}\n\n: heartbeat\n\n: heartbeat 2026-01-21T10:00:15.000Z\rid: 7\r\r'
  await fc.assert(fc.asyncProperty(fc.array(fc.nat(20)), async (cuts) => {
    const heard = new Heard((async function * () {
      let at = 0
      for (const cut of cuts) yield text.slice(at, at += cut)
      yield text.slice(at)
    })())
    t.equal(await heard.until(() => false, 1000), 'end')
    const [first, second, third] = heard.beats
    t.same([first!.sent, third!.sent].map((time) => new Date(time).toISOString()), ['2026-01-21T10:00:00.000Z', '2026-01-21T10:00:15.000Z'])
    t.equal(second!.sent, second!.came, 'that one does not say')
    t.equal(heard.beats.length, 3)
    t.match(heard.message('connected'), { mode: 'poll' })
  }), { numRuns: 50 })
})

t.test('numbers over time', async (t) => {
  const rate = new Rate()
  t.same([rate.next(0, 5), rate.next(2000, 25), rate.next(3000, 3), rate.next(4000, null), rate.next(5000, 9)], [null, 10, null, null, null])
  const history = new History()
  for (const [i, value] of [0, 7, null, 14].entries()) history.add(i * 1000, value)
  t.equal(history.spark(), '▁▅ █')
  history.add(62_500, 14)
  t.equal(history.spark(), '██', 'a minute')
  const series = new Series()
  t.same([series.add(0, 5), series.add(2000, 25)], [null, 10])
  t.equal(series.spark(), ' █')
})

t.test('times and errors', async (t) => {
  const now = Date.parse('2026-01-21T10:00:00Z')
  t.equal(readTime('10m', now).toISOString(), '2026-01-21T09:50:00.000Z')
  t.equal(readTime('2h', now).toISOString(), '2026-01-21T08:00:00.000Z')
  t.equal(readTime('2026-01-20T00:00:00Z').toISOString(), '2026-01-20T00:00:00.000Z')
  for (const text of ['10', '2026', '1/2/2026']) t.throws(() => readTime(text), { message: `--since is ${text}: give a time such as 10m, 2h or 2026-01-21T10:00:00Z` })
  t.throws(() => readTime('10 parsecs'), { message: '--since is 10 parsecs: give a time such as 10m, 2h or 2026-01-21T10:00:00Z' })
  t.equal(errorText(new Error('bad url postgres://me:p@ss/w@host/db')), 'bad url postgres://***@host/db')
  const example = 'give a URL such as postgres://user:password@host:5432/database; an @ in the password as %40'
  t.equal(errorText(new Error(example)), example)
  t.equal(errorText(new Error('postgres://user:password@host:5432/database@x')), 'postgres://***@x', 'the example is the whole of it')
  t.equal(errorText(new Error('postgres://me:apostgres://user:password@host:5432/database')), 'postgres://***@host:5432/database', 'and not a part of something')
  t.equal(errorText(new Error("argument 'postgres://host/db?password=p@ss&x=1'")), "argument 'postgres://host/db?password=***&x=1'")
  t.equal(errorText(new TypeError('fetch failed', { cause: new AggregateError([new Error('connect ECONNREFUSED ::1:3000')]) })), 'connect ECONNREFUSED ::1:3000')
})

t.test('who holds gaps for how long is a problem', async (t) => {
  t.same([5, 59, 60, null].map((age) => levelOf({ pid: 7, age_seconds: age })), ['warning', 'warning', 'problem', 'warning'])
  t.same([0.1, 5, null].map((age) => levelOf({ pid: null, age_seconds: age })), ['warning', 'problem', 'problem'], 'prepared: an orphan')
})
