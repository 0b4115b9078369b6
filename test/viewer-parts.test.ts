// What the viewer is made of, without a browser: where things are, how high they are, what is offered, kept and said.
import { readFile } from 'node:fs/promises'
import fc from 'fast-check'
import t from 'tap'
import type { Row } from '../client/messages.ts'
import { plain, stylesOf } from '../viewer/ansi.ts'
import { Entry } from '../viewer/entry.ts'
import { estimate, MAX_SHOWN } from '../viewer/estimate.ts'
import { Find, needleOf } from '../viewer/find.ts'
import { Heights } from '../viewer/heights.ts'
import { above, full, noRows } from '../viewer/hints.ts'
import { fit, isLevel, Levels } from '../viewer/levels.ts'
import { linkTo, readPlace, startOf } from '../viewer/place.ts'
import { MAX_HEIGHT, Scale } from '../viewer/scale.ts'
import { Store } from '../viewer/store.ts'

const ALL = { run: null, levels: null, row: null, tail: null }

/** With further columns. */
type More = Partial<Row> & Record<string, unknown>

function row (more: More = {}): Row {
  return { type: 'log', id: 1, run_id: 7, level: 'INFO', timestamp: '2026-01-21T10:00:00.000Z', message: 'a message', ...more }
}

t.test('what is looked at is in the URL', async (t) => {
  const place = fc.record({
    run: fc.option(fc.string({ minLength: 1 })),
    levels: fc.option(fc.array(fc.stringMatching(/^[^,\0]{1,64}$/), { minLength: 1, maxLength: 4 })),
    row: fc.option(fc.bigInt(0n, 2n ** 62n).map(String)),
    tail: fc.constantFrom('all' as const, null)
  })
  fc.assert(fc.property(place, (place) => {
    return JSON.stringify(readPlace(linkTo(place))) === JSON.stringify(place)
  }))
  t.same(readPlace(`?row=x&level=,%00,${'x'.repeat(65)}&tail=5`), ALL)
  t.same(startOf(ALL), { tail: 500 })
  t.same(startOf({ ...ALL, tail: 'all' }), { tail: 100_000 })
  t.same(startOf({ ...ALL, run: '7', tail: 'all' }), { after: '0' })
  t.same(startOf({ ...ALL, run: '7', tail: 'all', row: '9007199254740993' }), { after: '9007199254738993' }, 'a row goes first')
  t.same(startOf({ ...ALL, row: '3' }), { after: '0' })
})

t.test('heights are found again', async () => {
  const steps = fc.array(fc.tuple(fc.constantFrom('push', 'set', 'drop'), fc.nat(2000), fc.integer({ min: 1, max: 90 })), { maxLength: 40 })
  fc.assert(fc.property(steps, fc.nat(100_000), (steps, y) => {
    const heights = new Heights()
    const plain: number[] = []
    let first = 0
    for (const [what, n, height] of steps) {
      if (what === 'push') {
        for (let i = 0; i < n; i++) {
          heights.push(height)
          plain.push(height)
        }
      } else if (plain.length === 0) continue
      else if (what === 'set') {
        heights.set(first + n % plain.length, height)
        plain[n % plain.length] = height
      } else {
        const gone = n % plain.length
        first += gone
        heights.dropTo(first)
        plain.splice(0, gone)
      }
    }
    if (plain.length === 0) return true
    const total = plain.reduce((sum, height) => sum + height, 0)
    let top = y % total
    const number = heights.at(top)
    let index = 0
    for (; top >= plain[index]!; index++) top -= plain[index]!
    return heights.total === total && heights.end - heights.first === plain.length && number === first + index && heights.top(number) === y % total - top
  }), { numRuns: 500 })
})

t.test('a list of any height, in a scroller that is not as high', async (t) => {
  // A small scroll, in views, so often; or a jump to a part of all, also to near where an end begins.
  const small = fc.tuple(fc.constantFrom(-1.9, -0.9, -0.01, 0.01, 0.9, 1.9), fc.constantFrom(1, 10, 300))
  const move = fc.oneof(small, small, fc.double({ min: 0, max: 1, noNaN: true }), fc.constantFrom(0.0201, 0.021, 0.025, 0.975, 0.979))
  fc.assert(fc.property(fc.oneof(fc.nat(10_000_000), fc.constantFrom(500, MAX_HEIGHT + 1, 20_000_000, 60_000_000)), fc.integer({ min: 300, max: 3000 }), fc.array(move, { maxLength: 20 }), (height, view, moves) => {
    const scale = new Scale()
    const shown = scale.resize(height, view)
    const end = Math.max(0, shown - view)
    const last = Math.max(0, height - view)
    const go = (to: number) => {
      const { top, scroll } = scale
      const now = Math.round(Math.min(end, Math.max(0, to)))
      scale.scrolled(now)
      const asMuch = Math.abs(now - scroll) >= 2 * view || Math.abs(scale.top - top - (now - scroll)) <= 2
      // What the list does then.
      scale.scroll = scale.wanted
      const within = scale.scroll >= 0 && scale.scroll <= end && scale.top >= 0 && scale.top <= last
      const atStart = scale.scroll > 0 ? scale.top > 0 || scale.scroll <= 1 : scale.top === 0
      const atEnd = scale.scroll < end - 1 ? scale.top < last : scale.below <= 2
      return asMuch && within && atStart && atEnd
    }
    return shown <= MAX_HEIGHT && moves.every((move) => {
      if (typeof move === 'number') return go(move * end)
      for (let i = 0; i < move[1]; i++) if (!go(scale.scroll + move[0] * view)) return false
      return true
    })
  }), { numRuns: 300 })

  const scale = new Scale()
  t.equal(scale.resize(50_000_000, 1000), MAX_HEIGHT)
  const tops = [0.1, 0.3, 0.5, 0.7, 0.9].map((part) => {
    scale.scrolled(MAX_HEIGHT * part)
    return Math.round(scale.top / 5_000_000)
  })
  t.same(tops, [1, 3, 5, 7, 9], 'a jump is in proportion')
  scale.top = 40_000_000
  scale.resize(30_000_000, 1000)
  t.equal(scale.below, 0, 'what has got lower is not left')
})

t.test('about how high a row is', async (t) => {
  const look = { columns: 10, line: 20, frame: 3 }
  const high = (message: string, { wrap = true, whole = false, ...more }: { wrap?: boolean, whole?: boolean } & More = {}) => estimate(Entry.of(row({ message, ...more })), look, { wrap, whole })
  t.equal(high(''), 23)
  t.equal(high('x'.repeat(10)), 23)
  t.equal(high('x'.repeat(11)), 43)
  t.equal(high(`x\n${'x'.repeat(11)}\nx`), 83)
  t.equal(high(`x\n${'x'.repeat(11)}\nx`, { wrap: false }), 63)
  t.ok(high('x', { columns: 'more than a line' }) > 23, 'further columns')
  t.equal(high('\u001b[31mx\u001b[0m'), 23, 'what is not shown')
  const long = 'x'.repeat(10 * MAX_SHOWN)
  t.equal(high(long, { whole: true }), 20 * MAX_SHOWN + 3)
  t.ok(high(long) < 20 * MAX_SHOWN / 9)
  t.equal(estimate(Entry.note('x'), look, { wrap: true, whole: false }), 28)
})

t.test('levels: whatever rows hold, what is offered is taken by the stream', async (t) => {
  const names = fc.array(fc.oneof(fc.string(), fc.string({ minLength: 60, maxLength: 70 }), fc.constantFrom('INFO', 'a,b', '\0', 'x'.repeat(64))), { maxLength: 200 })
  fc.assert(fc.property(names, names, fc.nat(), (given, seen, n) => {
    const levels = new Levels(given)
    for (const name of seen) levels.see(name)
    levels.choose(seen.filter(isLevel).slice(0, 3))
    const toggled = levels.names.length === 0 ? null : levels.toggle(levels.names[n % levels.names.length]!)
    return [levels.names, toggled ?? []].every((names) => fit(names) && names.every(isLevel) && new Set(names).size === names.length)
  }))
  for (const name of ['', 'a,b', 'a\0b', 'x'.repeat(65)]) t.notOk(isLevel(name), name)

  const levels = new Levels(['INFO', 'ERROR'])
  for (let i = 0; i < 200; i++) levels.see(`junk ${i >> 1}`)
  t.equal(levels.names.length, 16)
  for (let i = 0; i < 200; i++) levels.see('REAL')
  t.ok(['INFO', 'ERROR', 'REAL'].every((name) => levels.names.includes(name)), 'a few odd rows keep none out')
  t.notOk(levels.see('REAL'), 'there already')
  levels.choose(['rare'])
  for (let i = 0; i < 40; i++) for (let j = 0; j < 100; j++) levels.see(`often ${i % 20}`)
  t.ok(['INFO', 'ERROR', 'rare'].every((name) => levels.names.includes(name)), 'what is chosen stays')
})

t.test('levels on and off', async (t) => {
  const levels = new Levels(['A', 'B', 'C'])
  t.same(levels.toggle('B'), ['A', 'C'])
  levels.choose(['C'])
  t.same(levels.toggle('A'), ['A', 'C'], 'in the order of the buttons')
  t.equal(levels.toggle('C'), null, 'none is all')
  levels.choose(['A', 'C'])
  t.equal(levels.toggle('B'), null)
})

t.test('what only a terminal understands is not shown', async (t) => {
  t.equal(plain('\u001b[1;31mred\u001b[0m and \u001b[38;5;200mpink\u001b[m'), 'red and pink')
  t.equal(plain('\u001b]0;title\u0007a\u001b]8;;http://x/\u001b\\link\u001b]8;;\u001b\\'), 'alink')
  t.equal(plain('\u001b[2K\u001b[1Gdone\u001b(B\u001b7'), 'done')
  t.equal(plain('[31m, 5 \u001b[3'), '[31m, 5 \u001b[3', 'what is none, or not whole, stays')
  t.equal(plain('10%\r20%\r\u001b[K30%'), '10%\n20%\n30%', 'a line that is written again')
  t.equal(plain('\r10%\r\r\r20%\r'), '\r10%\r\r\n20%\r', 'one break between two texts')
  t.equal(plain('a\r\nb\r\r\nc'), 'a\r\nb\r\r\nc')
  t.equal(plain(`a${'\r'.repeat(1_000_000)}b`).length, 1_000_002, 'in no time')
})

t.test('colours of a terminal', async (t) => {
  const looks = (text: string) => {
    const shown = plain(text)
    const styles = stylesOf(text, shown.length)
    return styles.map(({ from, classes }, index) => `${classes}:${shown.slice(from, styles[index + 1]?.from)}`).filter((look) => !look.startsWith(':'))
  }
  t.same(looks('a \u001b[1;31mred\u001b[0m, \u001b[94mblue\u001b[39m and \u001b[1mbold\u001b[22m.'), ['ansi-31 ansi-1:red', 'ansi-94:blue', 'ansi-1:bold'])
  t.same(looks('\u001b[31mred\u001b[38;5;32mnone\u001b[48;2;33;34;35mnor\u001b[36mcyan\u001b[mend'), ['ansi-31:red', 'ansi-36:cyan'], 'one of many colours, and a background, are none')
  t.same(looks('\u001b]0;title\u0007\u001b[32mx\r\u001b[2Ky'), ['ansi-32:x\ny'], 'other sequences between')
  fc.assert(fc.property(fc.array(fc.constantFrom('\u001b[31m', '\u001b[0m', '\u001b[1;92m', '\u001b[2K', '\r', '\n', 'text', '\u001b['), { maxLength: 300 }), (parts) => {
    const text = parts.join('')
    const { length } = plain(text)
    const froms = stylesOf(text, length).map(({ from }) => from)
    return froms.length <= 200 && froms.every((from, index) => from >= (froms[index - 1] ?? 0) && from < length)
  }))
  t.equal(stylesOf('\u001b[31mx'.repeat(1000), 1000).at(-1)?.classes, '', 'beyond so many there are none')

  const css = await readFile(new URL('../viewer/viewer.css', import.meta.url), 'utf8')
  const colours = new Map([...css.matchAll(/--([\w-]+): light-dark\((#\w{6}), (#\w{6})\)/g)].map(([, name, ...both]) => [name!, both]))
  const light = (hex: string) => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16) / 255).map((part) => part <= 0.03928 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4)
    .reduce((sum, part, index) => sum + part * [0.2126, 0.7152, 0.0722][index]!, 0.05)
  const used = [...css.matchAll(/\.ansi-\d+ \{\s*color: var\(--(\w+)\)/g)].map(([, name]) => name!)
  t.equal(used.length, 8)
  for (const name of used) {
    for (const ground of ['bg', 'hover', 'chosen', 'red-wash', 'amber-wash']) {
      for (const dark of [0, 1]) {
        const [low, high] = [light(colours.get(name)![dark]!), light(colours.get(ground)![dark]!)].sort((a, b) => a - b)
        t.ok(high! / low! >= 4.5, `${name} on ${ground}`)
      }
    }
  }
})

t.test('a row is saved as the stream has it', async (t) => {
  const rows = fc.record({
    id: fc.oneof(fc.maxSafeNat(), fc.bigInt(2n ** 53n, 2n ** 62n).map(String)),
    run_id: fc.oneof(fc.integer(), fc.string(), fc.constant(null)),
    level: fc.option(fc.string()),
    timestamp: fc.option(fc.date({ noInvalidDate: true }).map((date) => date.toISOString())),
    message: fc.option(fc.oneof(fc.string(), fc.constant('\u001b[31mred'))),
    truncated: fc.constantFrom(true as const, undefined)
  })
  const extra = fc.dictionary(fc.string().map((name) => `x${name}`), fc.jsonValue())
  fc.assert(fc.property(rows, extra, (row, extra) => {
    return JSON.stringify(Entry.of({ type: 'log', ...row, ...extra })) === JSON.stringify({ ...row, ...extra })
  }))
  const { text, extra: shown, level } = Entry.of(row({ message: null, level: null, truncated: true, shop: 'a b', size: { x: 1 }, none: null }))
  t.same([text, shown, level], [' […]', 'shop=a b size={"x":1}', ''])
})

t.test('finds a text, or a pattern', async (t) => {
  t.ok(needleOf('a.b')!.test('xA.By') && !needleOf('a.b')!.test('axb'))
  t.ok(needleOf('/a.b$/')!.test('xaxB') && !needleOf('/a.b$/')!.test('a.b '))
  t.ok(needleOf('/')!.test('a/b') && needleOf('//')!.test('a//b'), 'a slash is a slash')
  t.equal(needleOf('/(/'), null)

  const store = new Store()
  const changed = () => new Promise<void>((resolve) => { onchange = resolve })
  let onchange = () => {}
  const find = new Find(store, () => onchange())
  for (const message of ['one', 'two', 'three', 'two and two']) store.push(Entry.of(row({ message })))
  find.set('TWO')
  await changed()
  t.same([find.count, find.go(-1, 1), find.go(1, 1), find.go(3, 1), find.place], [2, 1, 3, 1, 1], 'around the end')
  store.push(Entry.of(row({ message: 'x', shop: 'two' })))
  find.more()
  await changed()
  t.equal(find.count, 3, 'further columns, and rows that come')
  store.clear()
  t.equal(find.go(-1, 1), -1, 'none that is gone')
  find.set('/[/')
  t.same([find.isWrong, find.count], [true, 0])
})

t.test('says what is shown, and what is not', async (t) => {
  const text = (place: object, beginning: Parameters<typeof above>[1] = 'place', rows = 100_000) => Object.values(above({ ...ALL, ...place }, beginning, rows)).join('|')
  const levels = ['WARN', 'ERROR']
  const only = 'Only these levels: WARN, ERROR. Rows without a level are not shown.'
  t.equal(text({}), 'Begins with the last 500 rows at most. |Load 100,000')
  t.equal(text({ tail: 'all' }), 'Begins with the last 100,000 rows at most. |')
  t.equal(text({ run: '7' }), 'Begins with the last 2,000 rows at most. |Load all')
  t.equal(text({ run: '7', tail: 'all' }), '|')
  t.equal(text({ run: '7', tail: 'all', levels }), `${only}|`)
  t.equal(text({ run: '7', row: '5000', levels }), `Begins shortly before the row of the link. ${only}|Load all`)
  t.equal(text({ row: '5000', tail: 'all' }), 'Begins shortly before the row of the link. |Load 100,000')
  t.match(text({ run: '7', levels }, 'dropped'), `200,000 rows, or 100,000,000 characters of them. ${only}|`)
  t.equal(text({ run: '7', row: '5000' }, 'reset'), '|')
  for (const [place, beginning, rows] of [[{}, 'place', 499], [{ run: '7' }, 'place', 1999], [{ run: '7', row: '5' }, 'place', 2000], [{ run: '7', row: '5000' }, 'place', 0], [{ run: '7' }, 'all', 2000]] as const) {
    t.equal(text(place, beginning, rows), '|', 'where no others are')
    t.equal(text({ ...place, levels }, beginning, rows), `${only}|`)
  }
  t.equal(full(200_000), '200,000 rows are loaded, as many as fit: go to the newest rows to read on')
  t.equal(noRows(true, { ...ALL, levels }), 'No rows of these levels')
})
