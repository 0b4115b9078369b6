// Who may watch, and for how long.

import { EventEmitter, once } from 'node:events'
import t from 'tap'
import type { FastifyPgTailOptions } from '../plugin.ts'
import { startApp } from './support/app.ts'
import { connect, createDemoTables, startPostgres } from './support/postgres.ts'
import type { SseClient } from './support/sse-client.ts'

const server = await startPostgres(t)
const sql = connect(t, server.url)
await createDemoTables(sql)
const write = (message: string) => sql`insert into scraper_log (run_id, message) values (1, ${message})`
const until = (client: SseClient, wanted: string) => client.until(({ data }) => data.message === wanted || data.type === wanted)

type Answer = boolean | Promise<boolean>

/** A door with somebody at it, who notes each question and answers as it is told. */
async function guard (reauthorize: number, answers: Record<string, () => Answer>) {
  const asked = new EventEmitter()
  const questions: Array<{ who: string, run: string | null }> = []
  const stream: FastifyPgTailOptions['stream'] = {
    reauthorize,
    authorize: ({ headers }, { run }) => {
      const who = `${headers.authorization}`
      questions.push({ who, run })
      asked.emit(who)
      return answers[who]!()
    }
  }
  const started = await startApp(t, { connectionString: server.url, stream, retry: 10 })
  const come = (who: string, query = '') => started.stream(query, { headers: { authorization: who } })
  return { ...started, come, questions, next: (who: string) => once(asked, who) }
}

t.test('nothing is sent, and no place taken, before the answer is there', async (t) => {
  let answer = (_yes: boolean) => {}
  const { app, come, questions, next } = await guard(0, { slow: () => new Promise((resolve) => { answer = resolve }) })
  const first = next('slow')
  const coming = come('slow', 'run_id=1')
  await first
  t.same(questions, [{ who: 'slow', run: '1' }])
  t.equal(app.logQueue.subscribers, 0)
  const race = await Promise.race([coming, app.inject('/logs/status').then(() => 'nothing yet')])
  t.equal(race, 'nothing yet')
  answer(false)
  t.equal((await coming).status, 403)
  t.equal(app.logQueue.subscribers, 0)
})

t.test('access that is taken away ends the stream, and the next answer is 403', async (t) => {
  const may: Record<string, Answer | Error> = { guest: true, member: true, broken: true, silent: true }
  const answer = (who: string) => () => {
    if (may[who] instanceof Error) throw may[who]
    return may[who] as Answer
  }
  const { app, come, questions, next } = await guard(20, Object.fromEntries(Object.keys(may).map((who) => [who, answer(who)])))
  const clients = Object.fromEntries(await Promise.all(Object.keys(may).map(async (who) => [who, await come(who, 'run_id=1')] as const)))
  await Promise.all(Object.values(clients).map((client) => until(client, 'connected')))
  await write('for all')
  await Promise.all(Object.values(clients).map((client) => until(client, 'for all')))
  for (let i = 0; i < 3; i++) await next('member')
  t.equal(app.logQueue.subscribers, 4, 'whoever may stays')

  may['guest'] = false
  may['broken'] = new Error('nobody can tell')
  may['silent'] = new Promise(() => {})
  for (const who of ['guest', 'broken', 'silent']) t.equal(await clients[who]!.ended, 'end', who)
  await write('for members')
  await until(clients['member']!, 'for members')
  for (const who of ['guest', 'broken', 'silent']) t.same(clients[who]!.logs().map(({ message }) => message), ['for all'], who)
  t.equal((await come('guest', 'run_id=1')).status, 403)
  t.ok(questions.every(({ run }) => run === '1'))

  clients['member']!.close()
  await new Promise<void>((resolve) => {
    const look = () => app.logQueue.subscribers === 0 ? resolve() : setImmediate(look)
    look()
  })
  const before = questions.length
  // Whoever is gone is asked about no more: others are, in the meantime.
  may['guest'] = true
  const other = await come('guest')
  for (let i = 0; i < 3; i++) await next('guest')
  t.same(questions.slice(before).filter(({ who }) => who !== 'guest'), [])
  other.close()
})

t.test('with 0 nobody is asked twice', async (t) => {
  const { come, questions } = await guard(0, { member: () => true })
  const clients = [await come('member'), await come('member')]
  for (const client of clients) await until(client, 'connected')
  for (const message of ['a', 'b', 'c']) {
    await write(message)
    for (const client of clients) await until(client, message)
  }
  t.equal(questions.length, 2)
  for (const client of clients) client.close()
})

t.test('what makes no sense is refused', async (t) => {
  const refused = (options: Partial<FastifyPgTailOptions>) => startApp(t, { connectionString: server.url, ...options }).then(() => null, ({ message }) => message)
  t.match(await refused({ stream: { reauthorize: 1000 } }), /"stream\.reauthorize".*set stream\.authorize/)
  t.match(await refused({ stream: { authorize: () => true, reauthorize: -1 } }), /"stream\.reauthorize" is -1; give an integer from 0/)
  t.match(await refused({ status: { public: true, reauthorize: 1000 } as object }), /"status\.reauthorize".*leave it out/)
})
