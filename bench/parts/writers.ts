// What watching costs those who write: commits a second of pgbench, while a node with subscribers runs on the same
// processors, or while nobody watches.

import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { awake } from '../support/awake.ts'
import { Cluster } from '../support/cluster.ts'
import { LINE } from '../support/load.ts'
import { pgbench, type Spent } from '../support/pgbench.ts'
import { compare, type Comparison } from '../support/result.ts'
import { alternate, type Figures } from '../support/rounds.ts'
import { ByHand, Bystander, CLIENTS, PAUSE, Side, Unwatched, Watched, type Written } from '../support/written.ts'

const SECONDS = 2
const ONE = `insert into scraper_log (run_id, level, message) values (1, 'INFO', '${LINE}, ${LINE}');`
const MANY = `insert into scraper_log (run_id, level, message) select 1, 'INFO', '${LINE}, ' || n from generate_series(1, 1000) n;`

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
  { what: 'single rows, 1 writer', writers: 1, rows: 1, disk: false, profile: true },
  { what: 'single rows, 16 writers', writers: 16, rows: 1, disk: false, profile: true },
  { what: 'single rows, 64 writers', writers: 64, rows: 1, disk: false, profile: true },
  { what: 'single rows, 16 writers, each commit on disk', writers: 16, rows: 1, disk: true, profile: false },
  { what: '1,000 rows a statement, 1 writer', writers: 1, rows: 1000, disk: false, profile: true }
]

const WATCHED = 'ours, watched'
const UNWATCHED = 'ours, nobody watches'
const BY_HAND = 'read by hand'
const NONE = 'no trigger'
const EMPTY = 'empty trigger'
const ROW = 'row trigger'
/** Next to each other, what is held against each other: the machine changes its speed within seconds. */
const SIDES = [ROW, NONE, EMPTY, UNWATCHED, WATCHED, BY_HAND]

export const rounds = 9

export const about = `Commits a second. pgbench for ${SECONDS} s a turn, counted from when all its sessions are there. No commit waits for the disk but where it says so, for processors shall be the limit: the node, its ${CLIENTS} clients and the server share two.
Where one writes alone they are kept from falling asleep, which would slow down whoever leaves them less to do. Each of our clients must have every row before the next round begins.

Read by hand is as little as watching can take: an empty trigger, one select each ${PAUSE} ms, and raw sockets to ${CLIENTS} clients; what commits late it loses.`

export async function measure (rounds: number): Promise<Comparison[]> {
  await using cluster = await Cluster.start()
  const folder = await mkdtemp(join(tmpdir(), 'bench-'))
  try {
    const [one, many] = await Promise.all(Object.entries({ one: ONE, many: MANY }).map(async ([name, text]) => {
      const path = join(folder, `${name}.sql`)
      await writeFile(path, text)
      return path
    })) as [string, string]
    await using bystander = await Bystander.start(cluster)
    const plain = await Promise.all(([NONE, EMPTY] as const).map((side) => Side.with(cluster, side)))
    await using watched = await Watched.start(cluster)
    await using byHand = await ByHand.start(cluster)
    await using unwatched = await Unwatched.start(cluster)
    const sides: Record<string, Side> = { [ROW]: bystander, [NONE]: plain[0]!, [EMPTY]: plain[1]!, [UNWATCHED]: unwatched, [WATCHED]: watched, [BY_HAND]: byHand }
    const turn = async (side: Side, { rows, writers, disk }: Scene) => {
      const { url } = side
      const sql = cluster.connect(url, { max: 1 })
      await sql.unsafe('truncate scraper_log')
      await side.begin()
      const figures = await pgbench({ url, file: rows === 1 ? one : many, rows, writers, disk, seconds: SECONDS, sql, serving: side.serving })
      const over = performance.now()
      const [written] = await sql`select count(*)::int as rows, max(id)::text as last from scraper_log`
      await sql.end()
      // What is still to be read would be at the cost of the next side.
      const whole = await side.catchUp(written as Written)
      return { ...figures, ...whole !== null && { behind: (performance.now() - over) / 1000, whole: whole / written!.rows * 1000 } }
    }
    const comparisons: Comparison[] = []
    for (const scene of SCENES) {
      console.log(scene.what)
      const all = () => alternate<'behind' | 'whole' | keyof Awaited<ReturnType<typeof pgbench>>>(SIDES, rounds, (side) => turn(sides[side]!, scene))
      const { commits, behind, whole, ...spent } = await (scene.writers === 1 ? awake(all) : all())
      comparisons.push(
        ...speed(scene, commits),
        compare(scene.what, 's until all is read', behind, WATCHED, BY_HAND),
        compare(scene.what, 'rows of 1,000 arrive', whole, WATCHED, BY_HAND),
        ...scene.profile ? profile(scene, spent) : []
      )
    }
    return comparisons
  } finally {
    await rm(folder, { recursive: true })
  }
}

function speed ({ what, rows }: Scene, commits: Figures): Comparison[] {
  const goals = rows === 1 ? { watched: [0.9, 0.85], unwatched: [0.97, 0.9] } as const : { watched: [0.97, 0.95], unwatched: [0.97, 0.95] } as const
  const against = (side: string, [empty, none]: readonly [number, number]) => [
    compare(what, 'commits/s', commits, side, EMPTY, { atLeast: empty }),
    compare(what, 'commits/s', commits, side, NONE, { atLeast: none })
  ]
  return [
    ...against(WATCHED, goals.watched),
    ...against(UNWATCHED, goals.unwatched),
    compare(what, 'commits/s', commits, WATCHED, BY_HAND),
    // What can be had at all.
    compare(what, 'commits/s', commits, BY_HAND, EMPTY),
    compare(what, 'commits/s', commits, EMPTY, NONE),
    compare(what, 'commits/s', commits, ROW, NONE)
  ]
}

/** Who took the processors' time for a row. */
function profile ({ what }: Scene, spent: Record<keyof Spent, Figures>): Comparison[] {
  const parts = Object.values(spent)
  const all = Object.fromEntries(SIDES.map((side) => [side, spent.writing[side]!.map((_, i) => parts.reduce((sum, part) => sum + part[side]![i]!, 0))]))
  const of = (who: string, figures: Figures, ...pairs: Array<[ours: string, other: string]>) => pairs.map(([ours, other]) => compare(`${what}: ${who}`, 'µs/row', figures, ours, other))
  return [
    ...of('all together', all, [WATCHED, EMPTY], [WATCHED, BY_HAND]),
    ...of('sessions that write', spent.writing, [WATCHED, NONE], [WATCHED, EMPTY], [WATCHED, BY_HAND], [UNWATCHED, EMPTY]),
    ...of('pgbench', spent.pgbench, [WATCHED, EMPTY], [WATCHED, BY_HAND]),
    ...of('the rest of the server', spent.background, [WATCHED, EMPTY], [WATCHED, BY_HAND]),
    ...of('sessions that read', spent.reading, [WATCHED, BY_HAND]),
    ...of('the process that serves', spent.node, [WATCHED, BY_HAND]),
    ...of('its clients', spent.clients, [WATCHED, BY_HAND])
  ]
}
