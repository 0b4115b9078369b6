// `npm run torture:report -- report-*.json`: docs/reliability.md, from reports of torture runs.

import { readFileSync, writeFileSync } from 'node:fs'

const lines = [readFileSync(new URL('reliability.head.md', import.meta.url), 'utf8')]
const reports = process.argv.slice(2).map((file) => JSON.parse(readFileSync(file, 'utf8')))
  .sort((a, b) => Number(a.postgres) - Number(b.postgres) || a.seed - b.seed)

const sum = (numbers: number[]) => numbers.reduce((total, number) => total + number, 0)
const max = (numbers: number[]) => Math.max(...numbers)
const count = (number: number) => number.toLocaleString('en')
const mib = (bytes: number) => (bytes / 2 ** 20).toFixed(0)
const row = (cells: Array<string | number>) => lines.push(`| ${cells.join(' | ')} |`)

row(['Seed', 'PostgreSQL', 'Minutes', 'Committed', 'Clients', 'Visits', 'Deliveries', 'Faults', 'Restarts', 'Lost', 'Twice', 'Out of order', 'Reset', 'Crashes', 'Heap, MiB'])
row(Array(15).fill('---:'))
for (const { seed, postgres, seconds, committed, clients, deliveries, faults, nodes, defects } of reports) {
  row([seed, postgres, seconds / 60, count(sum(committed.map(({ rows, deleted }: any) => rows + deleted))), clients.length,
    count(sum(clients.map(({ visits }: any) => visits))), count(deliveries), faults.length, sum(nodes.map(({ restarts }: any) => restarts)),
    sum(clients.map(({ lost }: any) => lost)), sum(clients.map(({ doubled }: any) => doubled)), sum(clients.map(({ disordered }: any) => disordered)),
    sum(clients.map(({ unexpected }: any) => unexpected)),
    defects.length, `${mib(max(nodes.map(({ heapBefore }: any) => heapBefore)))} → ${mib(max(nodes.map(({ heapAfter }: any) => heapAfter)))}`])
}

lines.push('')
row(['Fault', 'Times', 'Median, s', 'Longest, s'])
row(['---', '---:', '---:', '---:'])
const faults = new Map<string, number[]>()
for (const { name, silence } of reports.flatMap((report) => report.faults)) faults.set(name, [...faults.get(name) ?? [], silence / 1000])
for (const [name, silences] of [...faults].sort()) {
  silences.sort((a, b) => a - b)
  row([name, silences.length, silences[silences.length >> 1]!.toFixed(1), silences.at(-1)!.toFixed(1)])
}
writeFileSync(new URL('../../docs/reliability.md', import.meta.url), `${lines.join('\n')}\n`)
