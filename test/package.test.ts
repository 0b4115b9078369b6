// The package as a stranger gets it: packed, unpacked elsewhere, and used from there.
import { execFile } from 'node:child_process'
import { mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import t, { type Test } from 'tap'
import { connect, createDemoTables, startPostgres } from './support/postgres.ts'

const run = promisify(execFile)
const root = fileURLToPath(new URL('..', import.meta.url))
const folder = await mkdtemp(join(tmpdir(), 'fastify-pg-tail-package-'))
t.teardown(() => rm(folder, { recursive: true, force: true }))

// NODE_OPTIONS would bring the loader of the tests along.
const { NODE_OPTIONS: _, ...env } = process.env
await run('npm', ['run', 'build'], { cwd: root, env })
const { stdout } = await run('npm', ['pack', '--json', '--ignore-scripts', '--pack-destination', folder], { cwd: root, env })
const [packed] = JSON.parse(stdout) as [{ filename: string, files: Array<{ path: string }> }]

const server = await startPostgres(t)
const sql = connect(t, server.url)
await createDemoTables(sql)
await sql`insert into scraper_log (run_id, message) values (1, 'out of the box 📦')`

/** An app that shows the first row of its stream, and ends. */
const APP = `
  const app = Fastify()
  await app.register(fastifyPgTail, options)
  const origin = await app.listen({ port: 0, host: '127.0.0.1' })
  const response = await fetch(origin + '/logs/stream?tail=1')
  const decoder = new TextDecoder()
  let text = ''
  for await (const chunk of response.body!) {
    text += decoder.decode(chunk, { stream: true })
    if (text.includes('"type":"log"') && text.endsWith('\\n\\n')) break
  }
  console.log(text)
  await app.close()
`
const OPTIONS = "{ table: 'public.scraper_log', install: true, stream: { public: true } }"

/** A folder with the unpacked package, and what it says that it needs; nothing else of ours. */
async function project (t: Test, name: string, manifest: object): Promise<string> {
  const modules = join(folder, name, 'node_modules')
  const own = join(modules, 'fastify-pg-tail')
  await mkdir(own, { recursive: true })
  await writeFile(join(folder, name, 'package.json'), JSON.stringify({ name, private: true, ...manifest }))
  await run('tar', ['-xzf', join(folder, packed.filename), '--strip-components=1', '-C', own])
  const { dependencies, peerDependencies } = JSON.parse(await readFile(join(own, 'package.json'), 'utf8'))
  for (const dependency of [...Object.keys({ ...dependencies, ...peerDependencies }), '@types/node']) {
    await mkdir(dirname(join(modules, dependency)), { recursive: true })
    await symlink(join(root, 'node_modules', dependency), join(modules, dependency))
  }
  return join(folder, name)
}

async function start (t: Test, cwd: string, file: string): Promise<void> {
  const { stdout } = await run(process.execPath, [file], { cwd, env: { ...env, DATABASE_URL: server.url }, timeout: 60_000 })
  t.match(stdout, /^id: 1\ndata: {"type":"log","id":1,"run_id":1,.*"message":"out of the box 📦"}$/m)
}

t.test('what is in the tarball', async (t) => {
  const paths = packed.files.map(({ path }) => path)
  t.strictSame([...new Set(paths.map((path) => path.split('/')[0]))].sort(),
    ['CHANGELOG.md', 'LICENSE', 'README.md', 'dist', 'examples', 'package.json', 'sql'])
  t.same(paths.filter((path) => path.startsWith('examples/')), ['examples/grafana.json'])
  for (const path of ['dist/plugin.js', 'dist/plugin.d.ts', 'dist/lib/cli/main.js', 'dist/client/tail.js', 'dist/client/tail.d.ts', 'dist/viewer/main.js', 'dist/viewer/index.html', 'dist/viewer/viewer.css', 'sql/install.sql', 'sql/uninstall.sql']) t.ok(paths.includes(path), path)
  t.notOk(paths.some((path) => /^dist\/viewer\/.*\.d\.ts$/.test(path)), 'nobody imports the page')
})

t.test('an ESM project', async (t) => {
  const cwd = await project(t, 'esm', { type: 'module' })
  await writeFile(join(cwd, 'app.js'), `
    import Fastify from 'fastify'
    import fastifyPgTail from 'fastify-pg-tail'
    const options = ${OPTIONS}
    ${APP.replace('body!', 'body')}`)
  await start(t, cwd, 'app.js')
})

t.test('the viewer', async (t) => {
  const cwd = await project(t, 'viewer', { type: 'module' })
  await writeFile(join(cwd, 'app.js'), `
    import Fastify from 'fastify'
    import fastifyPgTail from 'fastify-pg-tail'
    const app = Fastify()
    await app.register(fastifyPgTail, { ...${OPTIONS}, viewer: true })
    const read = async (path) => {
      const { statusCode, headers, body } = await app.inject('/logs/' + path)
      console.log(statusCode, headers['content-type'], path)
      return body
    }
    const page = await read('')
    for (const [, path] of page.matchAll(/(?:href|src)="(assets\\/[^"]+)"/g)) {
      for (const [, other] of (await read(path)).matchAll(/from '(\\.[^']+)'/g)) await read(new URL(other, 'http://x/' + path).pathname.slice(1))
    }
    await app.close()`)
  const { stdout } = await run(process.execPath, ['app.js'], { cwd, env: { ...env, DATABASE_URL: server.url }, timeout: 60_000 })
  const lines = stdout.trim().split('\n')
  t.equal(lines[0], '200 text/html; charset=utf-8 ')
  t.same(lines.slice(1).filter((line) => !/^200 text\/(?:javascript; charset=utf-8 assets\/.*\.js|css; charset=utf-8 assets\/.*\.css)$/.test(line)), [])
  for (const name of ['viewer/main.js', 'viewer/viewer.css', 'client/tail.js']) t.ok(lines.some((line) => line.endsWith(name)), name)
  t.notOk(packed.files.some(({ path }) => path.includes('transpile')), 'what compiles the source stays at home')
})

t.test('a CommonJS project', async (t) => {
  const cwd = await project(t, 'cjs', {})
  await writeFile(join(cwd, 'app.js'), `
    const Fastify = require('fastify')
    const fastifyPgTail = require('fastify-pg-tail')
    const options = ${OPTIONS}
    async function main () { ${APP.replace('body!', 'body')} }
    main()`)
  await start(t, cwd, 'app.js')
})

t.test('a TypeScript project', async (t) => {
  const cwd = await project(t, 'typescript', { type: 'module' })
  await writeFile(join(cwd, 'tsconfig.json'), JSON.stringify({
    compilerOptions: { module: 'nodenext', target: 'es2023', strict: true, types: ['node'], skipLibCheck: false },
    include: ['app.ts']
  }))
  await writeFile(join(cwd, 'app.ts'), `
    import Fastify from 'fastify'
    import fastifyPgTail, { type FastifyPgTailOptions, type ListenerState, type LogRow, type RowIterator } from 'fastify-pg-tail'
    import { tail, type Row, type State, type Stopped, type Tail, type TailOptions } from 'fastify-pg-tail/client'
    const options: FastifyPgTailOptions = ${OPTIONS}
    ${APP}
    export function watches (): Tail {
      const options: TailOptions = {
        run: 7n,
        level: ['INFO'],
        onrows: (rows: Row[], cursor: string) => console.log(rows[0]?.message, cursor),
        onstate: (state: State, message: string) => console.log(state, message),
        onstopped: ({ rows }: Stopped) => console.log(rows)
      }
      // @ts-expect-error: no such option
      tail('/logs/stream', { runs: 7 })
      return tail('/logs/stream', options)
    }
    export async function uses (): Promise<void> {
      const state: ListenerState = app.notifyListener.state
      app.notifyListener.on('state', (now: ListenerState, why: string) => console.log(state, now, why))
      for await (const row of app.logQueue.subscribe({ run: 7, level: ['INFO'], tail: 10, signal: AbortSignal.timeout(1) })) {
        const { id, cursor }: LogRow = row
        // @ts-expect-error: no such field
        console.log(id, cursor, row.mesage)
      }
      const rows: RowIterator<LogRow<{ host: string }>> = app.logQueue.subscribe<{ host: string }>()
      await rows.ready
      for await (const { host, message } of rows) console.log(host.length, message)
      tail<{ host: string }>('/logs/stream', { onrows: ([row]) => console.log(row?.host.length) })
      // @ts-expect-error: for the plugin alone
      app.logQueue.deliver([])
      await app.logQueue.stop(7, 'enough')
      await app.register(fastifyPgTail, { table: 'log', stream: { authorize: (request, { run }) => request.ip === run } })
      // @ts-expect-error: no such order
      await app.register(fastifyPgTail, { table: 'log', order: 'up' })
      // @ts-expect-error: no such option
      await app.register(fastifyPgTail, { table: 'log', tabel: 'log' })
    }`)
  const tsc = join(root, 'node_modules', 'typescript', 'bin', 'tsc')
  const compiled = await run(process.execPath, [tsc, '-p', cwd], { cwd, env }).catch((error) => error)
  t.equal(compiled.stdout, '', 'type-checks')
  await start(t, cwd, 'app.js')
})

t.test('the command line', async (t) => {
  const cwd = await project(t, 'command', {})
  const own = join(cwd, 'node_modules', 'fastify-pg-tail')
  const { bin } = JSON.parse(await readFile(join(own, 'package.json'), 'utf8'))
  const file = join(own, bin['fastify-pg-tail'])
  t.match(await readFile(file, 'utf8'), /^#!\/usr\/bin\/env node\n/)
  const cli = (...args: string[]) => run(process.execPath, [file, ...args], { cwd, env: { ...env, DATABASE_URL: server.url }, timeout: 60_000 })
  t.match(await cli('--help'), { stdout: 'Usage: fastify-pg-tail <command>', stderr: '' })
  t.match(await cli('install', 'public.scraper_log'), { stdout: /^ok +public\.scraper_log: the trigger rings/ })
  t.match(await cli('tail', '--table', 'public.scraper_log'), { stdout: /Z INFO {2}1 out of the box 📦\n$/ })
  t.match(await cli('sql', '--uninstall', '--all'), { stdout: /^begin;\n[^]*drop schema fastify_pg_tail cascade;[^]*commit;\n$/ })
})
