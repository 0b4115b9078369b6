// What watching costs those who write: commits a second of pgbench, while a node with subscribers runs on the same
// processors, or while nobody watches.

import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { arrived } from '../support/arrived.ts'
import { Child } from '../support/child.ts'
import { Cluster } from '../support/cluster.ts'
import { pgbench, type Spent } from '../support/pgbench.ts'
import { compare, type Result } from '../support/result.ts'
import { alternate, type Figures } from '../support/rounds.ts'
import { TRIGGERS } from '../support/triggers.ts'

const SECONDS = 2
const CLIENTS = 10
const ONE = `insert into scraper_log (run_id, level, message) values (1, 'INFO', '${'a line of some length, as scrapers write them, '.repeat(2)}');`
const MANY = "insert into scraper_log (run_id, level, message) select 1, 'INFO', 'a line of some length, as scrapers write them, ' || n from generate_series(1, 1000) n;"

interface Scene {
  what: string
  writers: number
  /** Of a statement. */
  rows: number
  /** Whether a commit waits for the disk: that hides what a trigger takes, and differs more from round to round. */
  disk: boolean
  /** Whether it is shown who takes the time. */
  profile: boolean
}

const SCENES: Scene[] = [
  { what: 'single rows, 1 writer', writers: 1, rows: 1, disk: false, profile: false },
  { what: 'single rows, 16 writers', writers: 16, rows: 1, disk: false, profile: true },
  { what: 'single rows, 64 writers', writers: 64, rows: 1, disk: false, profile: true },
  { what: 'single rows, 16 writers, each commit on disk', writers: 16, rows: 1, disk: true, profile: false },
  { what: '1,000 rows a statement, 1 writer', writers: 1, rows: 1000, disk: false, profile: true }
]

const WATCHED = 'ours, watched'
const UNWATCHED = 'ours, nobody watches'
const BY_HAND = 'read by hand'
/** Milliseconds between two reads by hand: what ours has under load. */
const PAUSE = 20
const UNIT = 'µs/row'
/** Milliseconds without a row, after which no more come. */
const QUIET = 100

export const about = `Commits a second. pgbench for ${SECONDS} s a round, counted from when all its sessions are there. No commit waits for the disk but where it says so, for processors shall be the limit: the node, its ${CLIENTS} clients and the server share the processors.
Each of our clients must have every row before the next round begins. Read by hand is as little as watching can take: an empty trigger, one select
each ${PAUSE} ms, and raw sockets to ${CLIENTS} clients; what commits late it loses. The last lines say who took the processors' time, in the same rounds: for a row that is written, and of the process that serves and its clients for a row
that has arrived.`

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

    // Next to each other, what is held against each other: the machine changes its speed within seconds.
    const all = ['row trigger', 'no trigger', 'empty trigger', UNWATCHED, WATCHED, BY_HAND]
    const serving: Record<string, { node: Child, receivers?: Child, clients: number }> = {
      [WATCHED]: { node: watched, receivers, clients: CLIENTS }, [BY_HAND]: { node: byHand, receivers: others, clients: CLIENTS }, [UNWATCHED]: { node: unwatched, clients: 0 }
    }
    /** Rows for those who watch, so far: written, and at each client of those by hand. */
    let [written, byHandSoFar] = [0, 0]
    const bench = async (side: string, scene: Scene) => {
      const url = urls.get(side)!
      const sql = cluster.connect(url, { max: 1 })
      await sql.unsafe('truncate scraper_log')
      if (side === WATCHED) await watched.ask('doorbell', 'armed')
      if (side === BY_HAND) await byHand.ask('active', true)
      const figures = await pgbench({ ...scene, file: scene.rows === 1 ? one : many, url, sql, seconds: SECONDS, serving: serving[side] })
      const over = performance.now()
      // What is still to be read would be at the cost of the next side.
      const [state] = await sql`select count(*)::int as rows, max(id)::text as last from scraper_log`
      await sql.end()
      if (side === WATCHED) {
        written += state!.rows
        await arrived(receivers, Array(CLIENTS).fill(written))
        return { ...figures, behind: (performance.now() - over) / 1000, whole: 1000 }
      }
      if (side === BY_HAND) {
        await byHand.ask('reached', state!.last)
        const behind = (performance.now() - over) / 1000
        await byHand.ask('active', false)
        const before = byHandSoFar
        byHandSoFar = await settled(others)
        return { ...figures, behind, whole: (byHandSoFar - before) / state!.rows * 1000 }
      }
      return figures
    }
    const comparisons: Result['comparisons'] = []
    const profiles: Result['comparisons'] = []
    for (const scene of SCENES) {
      const { what, rows } = scene
      console.log(what)
      const { commits, behind, whole, ...spent } = await alternate(all, rounds, (side) => bench(side, scene))
      const goals = rows === 1
        ? { watched: [0.9, 0.85], unwatched: [0.97, 0.9] }
        : { watched: [0.97, 0.95], unwatched: [undefined, undefined] }
      const against = (side: string, [empty, none]: ReadonlyArray<number | undefined>) => [
        compare(what, 'commits/s', commits, side, 'empty trigger', target(empty)),
        compare(what, 'commits/s', commits, side, 'no trigger', target(none))
      ]
      comparisons.push(
        ...against(WATCHED, goals.watched),
        compare(what, 'commits/s', commits, WATCHED, BY_HAND),
        ...against(UNWATCHED, goals.unwatched),
        compare(what, 'commits/s', commits, 'row trigger', 'no trigger'),
        compare(what, 's until all is read', behind, WATCHED, BY_HAND),
        compare(what, 'rows of 1,000 arrive', whole, WATCHED, BY_HAND)
      )
      if (scene.profile) profiles.push(...profile(what, spent))
    }
    return [...comparisons, ...profiles]
  } finally {
    await rm(folder, { recursive: true })
  }
}

/** Who took the processors' time for a row. */
function profile (what: string, { writing, pgbench, server, node, clients }: Record<keyof Spent, Figures>): Result['comparisons'] {
  const sides = Object.keys(writing)
  const all = Object.fromEntries(sides.map((side) => [side, writing[side]!.map((_, i) => [writing, pgbench, server, node, clients].reduce((sum, who) => sum + who[side]![i]!, 0))]))
  return [
    compare(`${what}: all together`, UNIT, all, WATCHED, 'empty trigger'),
    compare(`${what}: all together`, UNIT, all, WATCHED, BY_HAND),
    compare(`${what}: sessions that write`, UNIT, writing, WATCHED, 'no trigger'),
    compare(`${what}: sessions that write`, UNIT, writing, WATCHED, 'empty trigger'),
    compare(`${what}: sessions that write`, UNIT, writing, WATCHED, BY_HAND),
    compare(`${what}: sessions that write`, UNIT, writing, UNWATCHED, 'empty trigger'),
    compare(`${what}: pgbench`, UNIT, pgbench, WATCHED, BY_HAND),
    compare(`${what}: the rest of the server`, UNIT, server, WATCHED, 'empty trigger'),
    compare(`${what}: the rest of the server`, UNIT, server, WATCHED, BY_HAND),
    compare(`${what}: the process that serves`, UNIT, node, WATCHED, BY_HAND),
    compare(`${what}: its clients`, UNIT, clients, WATCHED, BY_HAND)
  ]
}

const target = (atLeast: number | undefined) => atLeast === undefined ? undefined : { atLeast }

/** Rows at each client, once no more come. */
async function settled (receivers: Child): Promise<number> {
  const count = async () => (await receivers.ask<number[]>('received', Array(CLIENTS).fill(0))).reduce((sum, rows) => sum + rows, 0) / CLIENTS
  for (let before = -1; ;) {
    const now = await count()
    if (now === before) return now
    before = now
    await sleep(QUIET)
  }
}

async function node (cluster: Cluster, urls: Map<string, string>, side: string): Promise<Child> {
  const { url } = await cluster.database(side.replaceAll(/\W+/g, '_'))
  urls.set(side, url)
  return Child.start('sides/ours.ts', url)
}
