// What watching costs those who write: commits a second of pgbench, while a node with subscribers runs on the same
// processors, or while nobody watches.

import { execFile } from 'node:child_process'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { arrived } from '../support/arrived.ts'
import { Child } from '../support/child.ts'
import { Cluster } from '../support/cluster.ts'
import { compare, type Result } from '../support/result.ts'
import { alternate, type Figures } from '../support/rounds.ts'
import { TRIGGERS } from '../support/triggers.ts'

const run = promisify(execFile)
const SECONDS = 4
const CLIENTS = 10
const ONE = `insert into scraper_log (run_id, level, message) values (1, 'INFO', '${'a line of some length, as scrapers write them, '.repeat(2)}');`
const MANY = "insert into scraper_log (run_id, level, message) select 1, 'INFO', 'a line of some length, as scrapers write them, ' || n from generate_series(1, 1000) n;"

/** How many write, and whether a commit waits for the disk: that hides what a trigger takes, and differs more from round to round. */
const SCENES: ReadonlyArray<[writers: number, disk: boolean]> = [[1, false], [16, false], [64, false], [16, true]]

const WATCHED = 'ours, watched'
const UNWATCHED = 'ours, nobody watches'
const BY_HAND = 'read by hand'
/** Milliseconds between two reads by hand: what ours has under load. */
const PAUSE = 20

export const about = `Commits a second. pgbench for ${SECONDS} s a round. No commit waits for the disk but where it says so, for processors shall be the limit: the node, its ${CLIENTS} clients and the server share the processors.
Each of our clients must have every row before the next round begins. Read by hand is as little as watching can take: an empty trigger, one select
each ${PAUSE} ms, and raw sockets to ${CLIENTS} clients; what commits late it loses.`

export async function measure (rounds: number): Promise<Result['comparisons']> {
  await using cluster = await Cluster.start()
  const folder = await mkdtemp(join(tmpdir(), 'bench-'))
  try {
    const script = async (name: string, text: string) => {
      const path = join(folder, name)
      await writeFile(path, text)
      return path
    }
    const one = await script('one.sql', ONE)
    const many = await script('many.sql', MANY)
    const urls = new Map<string, string>()
    for (const [side, trigger] of Object.entries({ ...TRIGGERS, [BY_HAND]: TRIGGERS['empty trigger'] })) {
      const { url, sql } = await cluster.database(side.replaceAll(' ', '_'))
      await sql.unsafe(trigger)
      // Somebody hears it, and does nothing with it.
      if (side === 'row trigger') await sql.listen('log_updates', () => {})
      urls.set(side, url)
    }
    await using receivers = await Child.start('support/receivers.ts')
    await using watched = await node(cluster, urls, WATCHED)
    await receivers.ask('connect', await watched.ask('port'), Array(CLIENTS).fill('/logs/stream'))
    await using byHand = await Child.start('sides/hand-made.ts', 'raw', urls.get(BY_HAND)!, String(PAUSE))
    await using others = await Child.start('support/receivers.ts')
    await others.ask('connect', await byHand.ask('port'), Array(CLIENTS).fill('/logs/stream'))
    await using unwatched = await node(cluster, urls, UNWATCHED)
    await unwatched.ask('doorbell', 'off')

    /** Rows for those who watch, so far. */
    let written = 0
    /** Seconds that it took them after the last commit of a round. */
    const behind: Figures = { [WATCHED]: [], [BY_HAND]: [] }
    const bench = async (side: string, file: string, writers: number, disk = false): Promise<number> => {
      const url = urls.get(side)!
      const admin = cluster.connect(url, { max: 1 })
      await admin.unsafe('truncate scraper_log')
      if (side === WATCHED) await watched.ask('doorbell', 'armed')
      if (side === BY_HAND) await byHand.ask('active', true)
      const { stdout } = await run('pgbench', ['-n', '-c', String(writers), '-j', '1', '-T', String(SECONDS), '-M', 'prepared', '-f', file, url], { env: { ...process.env, PGOPTIONS: disk ? '' : '-c synchronous_commit=off' } })
      const over = performance.now()
      // What is still to be read would be at the cost of the next side.
      const [state] = await admin`select count(*)::int as rows, max(id)::text as last from scraper_log`
      await admin.end()
      if (side === BY_HAND) {
        await byHand.ask('reached', state!.last)
        await byHand.ask('active', false)
        behind[BY_HAND]!.push((performance.now() - over) / 1000)
      }
      if (side === WATCHED) {
        written += state!.rows
        await arrived(receivers, Array(CLIENTS).fill(written))
        behind[WATCHED]!.push((performance.now() - over) / 1000)
      }
      return Number(/tps = ([\d.]+)/.exec(stdout)![1])
    }
    const comparisons: Result['comparisons'] = []
    const all = [...Object.keys(TRIGGERS), BY_HAND, WATCHED, UNWATCHED]
    for (const [writers, disk] of SCENES) {
      const what = `single rows, ${writers} writer${writers === 1 ? '' : 's'}${disk ? ', each commit on disk' : ''}`
      console.log(what)
      const figures = await alternate(all, rounds, (side) => bench(side, one, writers, disk))
      comparisons.push(
        compare(what, 'commits/s', figures, WATCHED, 'empty trigger', { atLeast: 0.9 }),
        compare(what, 'commits/s', figures, WATCHED, 'no trigger', { atLeast: 0.85 }),
        compare(what, 'commits/s', figures, WATCHED, BY_HAND),
        compare(what, 'commits/s', figures, UNWATCHED, 'empty trigger', { atLeast: 0.97 }),
        compare(what, 'commits/s', figures, UNWATCHED, 'no trigger', { atLeast: 0.9 }),
        compare(what, 'commits/s', figures, 'row trigger', 'no trigger')
      )
    }
    console.log('bulk inserts of 1,000 rows')
    const figures = await alternate(all, rounds, (side) => bench(side, many, 1))
    for (const side of Object.keys(behind)) behind[side] = behind[side]!.slice(-rounds)
    comparisons.push(
      compare('1,000 rows a statement, 1 writer', 's until all is read', behind, WATCHED, BY_HAND),
      compare('1,000 rows a statement, 1 writer', 'commits/s', figures, WATCHED, 'empty trigger', { atLeast: 0.97 }),
      compare('1,000 rows a statement, 1 writer', 'commits/s', figures, WATCHED, 'no trigger', { atLeast: 0.95 }),
      compare('1,000 rows a statement, 1 writer', 'commits/s', figures, WATCHED, BY_HAND),
      compare('1,000 rows a statement, 1 writer', 'commits/s', figures, UNWATCHED, 'empty trigger'),
      compare('1,000 rows a statement, 1 writer', 'commits/s', figures, UNWATCHED, 'no trigger'),
      compare('1,000 rows a statement, 1 writer', 'commits/s', figures, 'row trigger', 'no trigger')
    )
    return comparisons
  } finally {
    await rm(folder, { recursive: true })
  }
}

async function node (cluster: Cluster, urls: Map<string, string>, side: string): Promise<Child> {
  const { url } = await cluster.database(side.replaceAll(/\W+/g, '_'))
  urls.set(side, url)
  return Child.start('sides/ours.ts', url)
}
