// Clients that nobody here wrote: the `eventsource` package, and curl.
import { spawnSync } from 'node:child_process'
import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { EventSource } from 'eventsource'
import t, { type Test } from 'tap'
import { startApp } from './support/app.ts'
import { eventually } from './support/eventually.ts'
import { connect, createDatabase, createDemoTables, startPostgres } from './support/postgres.ts'
import { Program } from './support/program.ts'

const withoutCurl = process.env.CI || spawnSync('curl', ['--version']).status === 0 ? false : 'no curl here'
const server = await startPostgres(t)
let databases = 0

/** A node whose streams are all cut when it restarts. */
async function prepare (t: Test) {
  const connectionString = await createDatabase(t, server, `clients_${++databases}`)
  const sql = connect(t, connectionString)
  await createDemoTables(sql)
  await sql`insert into scraper_run (id, name) overriding system value values (7, 'shop')`
  const start = (port = 0) => startApp(t, { connectionString, retry: 20, runs: { table: 'scraper_run', finished: ['finished'] } }, { port })
  let node = await start()
  const { url } = node
  const restart = async (meanwhile: () => Promise<void>) => {
    const { port } = node.app.server.address() as AddressInfo
    // Whoever comes back before it is gone finds nobody.
    node.app.server.close()
    node.app.server.closeAllConnections()
    await node.app.close()
    await meanwhile()
    node = await start(port)
  }
  const write = async (...texts: string[]) => {
    for (const message of texts) await sql`insert into scraper_log (run_id, message) values (7, ${message})`
  }
  const finish = () => sql`update scraper_run set status = 'finished' where id = 7`
  return { url: `${url}/logs/stream?run_id=7&after=0`, restart, write, finish }
}

t.test('the eventsource package: a restart, and the end of the run', async (t) => {
  const { url, restart, write, finish } = await prepare(t)
  await write('one', 'two')
  const got: string[] = []
  const source = new EventSource(url)
  t.teardown(() => source.close())
  source.onmessage = ({ data }) => {
    const { type, message } = JSON.parse(data)
    if (type === 'log' || type === 'stopped') got.push(message)
  }
  const has = (text: string) => eventually(() => got.includes(text))
  await has('two')
  await write('three')
  await has('three')
  await restart(() => write('four', 'five\nsix\r\n\r\ndata: seven'))
  await write('eight')
  await has('eight')
  await finish()
  // It comes back after the end, and is told that there is nothing more.
  await eventually(() => source.readyState === EventSource.CLOSED)
  t.same(got, ['one', 'two', 'three', 'four', 'five\nsix\r\n\r\ndata: seven', 'eight', 'Run finished'])
})

t.test('curl, which is killed and resumes', { skip: withoutCurl }, async (t) => {
  const { url, restart, write, finish } = await prepare(t)
  const curl = (...args: string[]) => new Program(t, 'curl', ['-sS', '--no-buffer', ...args, url], { cwd: '.' })
  const lastId = (text: string) => [...text.matchAll(/^id: (.+)\ndata: /gm)].at(-1)![1]
  const texts = (text: string) => [...text.matchAll(/^data: (.+)$/gm)].map(([, data]) => JSON.parse(data!)).filter(({ type }) => type === 'log').map(({ message }) => message)
  await write('one', 'two')
  const first = curl()
  await first.says(/"two"/)
  await write('three')
  const [before] = await first.says(/[^]*"three".*\n/)
  const killed = once(first.process, 'close')
  first.process.kill('SIGKILL')
  await killed
  await write('four')
  const second = curl('-H', `Last-Event-ID: ${lastId(before)}`)
  const [between] = await second.says(/[^]*"four".*\n/)
  const cut = once(second.process, 'close')
  await restart(() => write('five'))
  t.not((await cut)[0], 0, 'a stream that is cut off is not a clean end')
  const third = curl('-H', `Last-Event-ID: ${lastId(between)}`)
  const ended = once(third.process, 'close')
  await third.says(/"five"/)
  await finish()
  t.equal((await ended)[0], 0, 'that of a run is one')
  const [after] = await third.says(/[^]*/)
  t.match(after, /^data: \{"type":"stopped","run_id":7,"status":"finished","rows":5,/m)
  t.same([before, between, after].flatMap(texts), ['one', 'two', 'three', 'four', 'five'])
})
