// `npm run bench:report`: docs/performance.md and its charts, from bench/results and bench/notes, and the README's numbers.

import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises'
import { logger, parse, View, Warn } from 'vega'
import { compile, type TopLevelSpec } from 'vega-lite'
import { number } from './support/number.ts'
import { meets, type Comparison, type Result } from './support/result.ts'
import type { Summary } from './support/rounds.ts'

const TITLES: Record<string, string> = {
  writers: 'What watching costs the writers',
  trigger: 'What the trigger takes',
  'fan-out': 'Rows to many clients',
  latency: 'Latency on a quiet table',
  busy: 'Latency under load',
  queries: 'What the server is asked',
  replay: 'Replay',
  memory: 'Memory of an idle stream',
  growth: 'How it grows',
  nodes: 'What further nodes cost the server',
  start: 'Start'
}
/** Where sides differ by orders of magnitude. */
const LOGARITHMIC = ['fan-out', 'busy', 'queries', 'growth']

/** What the README shows: part, what, ours, against what, and how it says that. */
const SHOWN: ReadonlyArray<[part: string, what: string, ours: string, other: string, text: string]> = [
  ['writers', 'single rows, 16 writers', 'ours, nobody watches', 'empty trigger', 'Commits a second of 16 writers, nobody watches, against an empty trigger'],
  ['writers', 'single rows, 16 writers', 'ours, watched', 'empty trigger', 'The same, 10 clients watch: node, clients and server share two cores'],
  ['writers', 'single rows, 16 writers', 'ours, watched', 'read by hand', 'The same, against reading by hand with an empty trigger'],
  ['writers', 'single rows, 16 writers', 'row trigger', 'no trigger', 'The row trigger of most tutorials, against none'],
  ['fan-out', '1,000 clients of one run, 1,000 rows/s', 'ours', 'raw sockets, paced as ours', 'Deliveries a second of processor time, 1,000 clients, 1,000 rows/s, against raw sockets'],
  ['fan-out', '1,000 clients of one run, 400 rows at 1,000 rows/s', 'ours', 'better-sse', 'The same, against better-sse'],
  ['fan-out', '1,000 clients of one run, 400 rows at 1,000 rows/s', 'ours', 'reply.sse.send()', 'The same, against `reply.sse.send()` for each message'],
  ['latency', 'p50, each commit on disk', 'ours', 'by hand', 'Median latency on a quiet table, against LISTEN, a select and a write by hand'],
  ['latency', 'p50, no wait for the disk', 'ours', 'by hand', 'The same, without a disk to wait for'],
  ['busy', 'p99', 'ours', 'polling each 1 s', '99th percentile of latency, 1,000 rows/s for 1,000 clients, against polling for each'],
  ['replay', '1,000,000 rows', 'ours, after=0', "the driver's cursor", 'Rows a second of a replay of 1,000,000, against the driver\'s cursor'],
  ['memory', 'alive', 'ours', 'bare Fastify route', 'Memory of an idle stream, against a bare Fastify route']
]

/** What is a table of its own, by unit: with what to say before it. */
const TABLES: Record<string, Array<{ units: string[], caption: string }>> = {
  writers: [
    { units: ['s until all is read', 'rows of 1,000 arrive'], caption: 'From when the writers have ended until the last row is at the clients, with the time to count them, and how many rows get there at all:' },
    { units: ['µs/row'], caption: 'Who took the processors, in the same rounds: microseconds of processor time for a row that was written, and of the sessions that read, the process that serves and its clients for a row that has arrived.' }
  ],
  'fan-out': [{ units: ['reads'], caption: 'Reads of the table meanwhile:' }],
  busy: [{ units: ['ms/s', 'a second'], caption: 'What goes on meanwhile:' }]
}

/** Sides that grow: the first of its kind comes first. */
const GROWS = ['growth', 'nodes']

/** It warns of what is meant. */
const silent = Object.assign(logger(Warn), { warn: () => silent })

const results = new URL('results/', import.meta.url)
const notes = new URL('notes/', import.meta.url)
const docs = new URL('../docs/', import.meta.url)
await mkdir(new URL('charts/', docs), { recursive: true })
const found = (await readdir(results)).filter((name) => name.endsWith('.json'))
const parts = Object.keys(TITLES).filter((part) => found.includes(`${part}.json`))
const sections: string[] = []
for (const part of parts) {
  const result: Result = JSON.parse(await readFile(new URL(`${part}.json`, results), 'utf8'))
  await writeFile(new URL(`charts/${part}.svg`, docs), await draw(result))
  sections.push(section(result), await note(part))
}
const [first] = parts
const { machine } = JSON.parse(await readFile(new URL(`${first}.json`, results), 'utf8')) as Result
await writeFile(new URL('performance.md', docs), [
  await note('head'),
  `Machine: ${machine.cpu}, ${machine.cores} cores, ${machine.memory}; Node ${machine.node}, PostgreSQL ${machine.postgres}. ${Object.entries(machine.packages).map(([name, version]) => `${name} ${version}`).join(', ')}.`,
  ...sections,
  await note('tried')
].filter((text) => text !== '').join('\n\n') + '\n')

const readme = new URL('../README.md', import.meta.url)
const lines = await Promise.all(SHOWN.filter(([part]) => parts.includes(part)).map(async ([part, what, ours, other, text]) => {
  const { comparisons }: Result = JSON.parse(await readFile(new URL(`${part}.json`, results), 'utf8'))
  const shown = comparisons.find((comparison) => comparison.what === what && comparison.ours === ours && comparison.other === other)
  if (shown === undefined) throw new Error(`the results have no ${part}: ${what}, ${ours} against ${other}`)
  return `| ${text} | ${number(shown.ratio.median)} | ${number(shown.figures[ours]!.median)} ${shown.unit} |`
}))
await writeFile(readme, (await readFile(readme, 'utf8')).replace(
  /(?<=<!-- numbers -->\n).*?(?=\n<!-- \/numbers -->)/s, ['| | Ratio | Measured |', '|---|---|---|', ...lines].join('\n')))

/** What there is to say besides, if anything. */
async function note (name: string): Promise<string> {
  const there = (await readdir(notes)).includes(`${name}.md`)
  return there ? (await readFile(new URL(`${name}.md`, notes), 'utf8')).trim() : ''
}

function section ({ part, about, command, comparisons, measured }: Result): string {
  return [
    `## ${TITLES[part]}`,
    about,
    `\`\`\`sh\n${command}\n\`\`\``,
    `Measured on ${measured.date}, on the code of ${measured.commit}.`,
    table(main(part, comparisons)),
    ...(TABLES[part] ?? []).flatMap(({ units, caption }) => [caption, table(comparisons.filter(({ unit }) => units.includes(unit)))]),
    `![${TITLES[part]}](charts/${part}.svg)`
  ].join('\n\n')
}

/** What is in no table of its own: that has a chart. */
function main (part: string, comparisons: Comparison[]): Comparison[] {
  const apart = (TABLES[part] ?? []).flatMap(({ units }) => units)
  return comparisons.filter(({ unit }) => !apart.includes(unit))
}

function table (comparisons: Comparison[]): string {
  const rows = comparisons.map((comparison) => {
    const { what, ours, other, ratio, target, figures, unit } = comparison
    const side = (name: string) => `${name}: ${number(figures[name]!.median)} ${unit}`
    const wanted = target === undefined ? '' : 'atLeast' in target ? `≥ ${target.atLeast}` : `≤ ${target.atMost}`
    return [what, side(ours), side(other), `**${number(ratio.median)}** (${number(ratio.min)} to ${number(ratio.max)})`, wanted, { true: 'yes', false: '**no**', null: '' }[String(meets(comparison))]]
  })
  return [['', 'Side', 'Against', 'Ratio, median (range)', 'Target', 'Met'], ['---', '---', '---', '---', '---', '---'], ...rows].map((row) => `| ${row.join(' | ')} |`).join('\n')
}

async function draw (result: Result): Promise<string> {
  const { part } = result
  const values = bars(result)
  const logarithmic = LOGARITHMIC.includes(part)
  // A bar begins at zero, which has no logarithm.
  const mark = logarithmic ? { type: 'circle' as const, size: 90, opacity: 1 } : { type: 'bar' as const, height: 12 }
  const spec: TopLevelSpec = {
    $schema: 'https://vega.github.io/schema/vega-lite/v6.json',
    data: { values },
    facet: { row: { field: 'what', type: 'nominal', title: null, sort: [...new Set(values.map(({ what }) => what))], header: { labelAngle: 0, labelAlign: 'left', labelOrient: 'top', labelFontWeight: 'bold' } } },
    resolve: { scale: { y: 'independent', x: 'independent' } },
    spec: {
      width: 560,
      height: { step: 20 },
      layer: [
        { mark, encoding: { x: x('median'), color: { field: 'ours', type: 'nominal', legend: null, scale: { domain: [true, false], range: ['#2f6f4f', '#b9c2bc'] } } } },
        { mark: { type: 'rule', strokeWidth: 1.5 }, encoding: { x: x('min'), x2: { field: 'max' } } }
      ],
      encoding: { y: { field: 'side', type: 'nominal', title: null, sort: null, axis: { labelLimit: 400 } } }
    },
    config: { background: 'white', font: 'sans-serif', view: { stroke: null } }
  }
  return new View(parse(compile(spec, { logger: silent }).spec), { renderer: 'none' }).toSVG()

  function x (field: string) {
    return { field, type: 'quantitative' as const, title: null, ...logarithmic && { scale: { type: 'log' as const } } }
  }
}

/** Each side once, of all it is held against. */
function bars ({ part, comparisons }: Result): Array<Summary & { what: string, side: string, ours: boolean }> {
  const seen = new Map<string, Summary & { what: string, side: string, ours: boolean }>()
  for (const { what, figures, unit } of main(part, comparisons)) {
    for (const [side, figure] of GROWS.includes(part) ? Object.entries(figures).reverse() : Object.entries(figures)) {
      const key = JSON.stringify([what, unit, side])
      seen.set(key, { ...figure, what: `${what}: ${unit}`, side, ours: side.startsWith('ours') || part === 'growth' })
    }
  }
  return [...seen.values()]
}
