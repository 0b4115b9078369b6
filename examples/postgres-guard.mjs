// The process that owns a throw-away PostgreSQL server; see embedded-postgres.ts.
//
// It lives in a session of its own, so that Ctrl-C in a terminal reaches neither it nor the
// server: the app can go on using the database while it shuts down. The end of its stdin is the
// one sign that the app is gone, however it went: the kernel closes the pipe after a kill -9 as
// well. Then the server stops and its files go.
//
// One JSON object a line: requests come on stdin and are answered in turn on stdout.

import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { access, appendFile, chown, lstat, mkdtemp, open, readdir, readFile, rename, rm, stat, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'

const run = promisify(execFile)

const START_TIMEOUT_MS = 60_000
const STOP_TIMEOUT_MS = 10_000
const PORT_ATTEMPTS = 50

/** uid and gid of the server, where they are not our own. */
let user = {}
/** Of this server alone: its data and its log. */
let folder
let bin
let port
/** @type {import('node:child_process').ChildProcess | undefined} */
let server
let closing = false

const operations = {
  async init ({ native, password, settings }) {
    user = await serverUser()
    folder = await mkdtemp(join(await temporaryFolder(), 'embedded-postgres-'))
    if (user.uid !== undefined) await chown(folder, user.uid, user.gid)
    bin = join(await runnable(native), 'bin')
    await initdb(password, settings)
    await start()
    return { port, dataDir: join(folder, 'data') }
  },
  start,
  stop: ({ mode }) => stop(mode)
}

/** PostgreSQL refuses to run as root. */
async function serverUser () {
  if (process.getuid() !== 0) return {}
  for (const name of ['postgres', 'nobody']) {
    try {
      const [uid, gid] = await Promise.all(['-u', '-g'].map(async flag => Number((await run('id', [flag, name])).stdout)))
      return { uid, gid }
    } catch {} // no such user here
  }
  throw new Error('PostgreSQL does not run as root, and there is no user "postgres" or "nobody" to run it as')
}

/** The temporary folder, or where root has a private one, one that the server's user can reach. */
async function temporaryFolder () {
  if (user.uid === undefined) return tmpdir()
  for (const candidate of [tmpdir(), '/tmp', '/var/tmp']) {
    if (await othersCanEnter(candidate)) return candidate
  }
  throw new Error('No temporary folder that the server\'s user can reach')
}

async function othersCanEnter (path) {
  try {
    if (!((await stat(path)).mode & 0o001)) return false
  } catch {
    return false
  }
  return dirname(path) === path || othersCanEnter(dirname(path))
}

/** The folder to run the binaries from. */
async function runnable (native) {
  await link(native).catch(() => {}) // not ours to write: the copy will have the links
  if (await runs(native)) return native

  // A checkout in a private home, mostly. The copy is kept for the next server.
  const { version } = JSON.parse(await readFile(join(native, '..', 'package.json'), 'utf8'))
  const cache = join(dirname(folder), `embedded-postgres-${version}-${process.arch}-${process.getuid()}`)
  if (await isIntact(cache, native) && await runs(cache)) return cache
  const copy = join(folder, 'native')
  await run('cp', ['-R', native, copy])
  await run('chmod', ['-R', 'u+w,go-w,a+rX', copy])
  await run('chmod', ['-R', 'a+x', join(copy, 'bin')])
  await link(copy)
  await execute(join(copy, 'bin', 'postgres'), ['--version'])
  try {
    await rename(copy, cache)
    return cache
  } catch {
    return copy // another process was faster, or the name is taken: the copy goes with its server
  }
}

/** In a temporary folder anybody may plant files, and cleaners thin out what seems old. */
async function isIntact (cache, native) {
  try {
    const { uid, mode } = await lstat(cache)
    if (uid !== process.getuid() || (mode & 0o022)) return false
    const [have, want] = await Promise.all([cache, native].map(path => readdir(path, { recursive: true })))
    return have.length >= want.length
  } catch {
    return false
  }
}

/**
 * To try is the one test that tells all: whether the server's user reaches the binaries, may
 * execute them, and finds their libraries.
 */
async function runs (native) {
  return execute(join(native, 'bin', 'postgres'), ['--version']).then(() => true, () => false)
}

/** npm packages hold no symbolic links; the package's install script, where it may run, makes them. */
async function link (native) {
  const links = JSON.parse(await readFile(join(native, 'pg-symlinks.json'), 'utf8'))
  for (const { source, target } of links) {
    const path = join(native, '..', target)
    // Look first: the folder may be read-only and complete. All links stay in their folder.
    if (await access(path).then(() => true, () => false)) continue
    await symlink(source.slice(source.lastIndexOf('/') + 1), path).catch(err => {
      if (err.code !== 'EEXIST') throw err // another process was faster
    })
  }
}

async function initdb (password, settings) {
  const data = join(folder, 'data')
  const passwordFile = join(folder, 'password')
  await writeFile(passwordFile, password + '\n', { mode: 0o600 })
  if (user.uid !== undefined) await chown(passwordFile, user.uid, user.gid)
  await execute(join(bin, 'initdb'), ['-D', data, '-U', 'postgres', '-A', 'scram-sha-256', '--pwfile', passwordFile,
    '--locale=C', '--encoding=UTF8', '--no-sync', '--no-instructions'])
  await rm(passwordFile)
  // In the file and not on the command line, so that ALTER SYSTEM can still change them.
  const lines = Object.entries(settings).map(([name, value]) => `${name} = '${value.replaceAll('\\', '\\\\').replaceAll("'", "''")}'\n`)
  await appendFile(join(data, 'postgresql.conf'), lines.join(''))
}

async function start () {
  if (server) return {}
  for (let attempt = 1; ; attempt++) {
    // Below the ephemeral ports, which any outgoing connection may hold. Not looked at first:
    // two servers that start at once would find the same port free.
    const candidate = port ?? 20_000 + Math.floor(Math.random() * 12_000)
    const log = await launch(candidate)
    if (log === undefined) {
      port = candidate
      return {}
    }
    const taken = log.includes('could not create any TCP/IP sockets')
    if (!taken || attempt === PORT_ATTEMPTS || closing) {
      throw new Error(`PostgreSQL did not start on port ${candidate}. The end of its log:\n${log.slice(-4_000)}`)
    }
    if (port !== undefined) await sleep(100)
  }
}

/** Undefined once the server is ready, else what it wrote before it gave up. */
async function launch (candidate) {
  const data = join(folder, 'data')
  const log = await open(join(folder, 'log'), 'a+')
  const { size } = await log.stat()
  const child = server = spawn(join(bin, 'postgres'), ['-D', data, '-p', String(candidate)], {
    ...user, cwd: folder, env: environment(), stdio: ['ignore', log.fd, log.fd]
  })
  let failure = ''
  const left = (what) => {
    failure ||= what
    server = undefined
  }
  child.once('error', err => left(err.message))
  child.once('exit', (code, signal) => left(`exit ${code ?? signal}`))
  try {
    const deadline = Date.now() + START_TIMEOUT_MS
    while (!failure) {
      if (await isReady(join(data, 'postmaster.pid'), child.pid)) return
      if (Date.now() > deadline || closing) {
        failure = closing ? 'the app is gone' : `not ready after ${START_TIMEOUT_MS} ms`
        await stop('immediate')
        break
      }
      await sleep(10)
    }
    const written = await readFile(join(folder, 'log'), 'utf8')
    return written.slice(size) + failure
  } finally {
    await log.close()
  }
}

/** The server keeps its state on the file's last line. The pid tells it from a left-over file. */
async function isReady (pidFile, pid) {
  const lines = (await readFile(pidFile, 'utf8').catch(() => '')).split('\n')
  return Number(lines[0]) === pid && lines[7]?.trim() === 'ready'
}

async function stop (mode) {
  const child = server
  if (!child) return {}
  const signals = mode === 'fast' ? ['SIGINT', 'SIGQUIT', 'SIGKILL'] : ['SIGQUIT', 'SIGKILL']
  const exited = once(child, 'exit').then(() => true)
  for (const signal of signals) {
    child.kill(signal)
    if (await Promise.race([exited, sleep(STOP_TIMEOUT_MS, false, { ref: false })])) break
  }
  return {}
}

async function execute (file, args) {
  try {
    await run(file, args, { ...user, cwd: folder, env: environment() })
  } catch (err) {
    throw new Error(`${err.message}\n${err.stdout ?? ''}`.slice(-4_000))
  }
}

/** Nothing of the caller's PG* or LC_* variables. With a TZ, initdb need not go looking for one. */
function environment () {
  return { PATH: process.env.PATH, TZ: 'UTC', LC_ALL: 'C' }
}

// One request after the other.
let turn = Promise.resolve()

async function answer (line) {
  if (closing) return
  let reply
  try {
    const request = JSON.parse(line)
    reply = await operations[request.op](request)
  } catch (err) {
    reply = { error: err.message }
  }
  process.stdout.write(JSON.stringify(reply) + '\n')
}

async function shutdown () {
  if (closing) return
  closing = true
  server?.kill('SIGQUIT') // at once, whatever the request under way waits for
  await turn
  await stop('immediate')
  // The last processes of a killed server may still be writing.
  if (folder) await rm(folder, { recursive: true, force: true, maxRetries: 10, retryDelay: 100 })
  process.exit()
}

process.title = 'embedded-postgres guard'
process.stdout.on('error', () => {}) // nobody listens any more: stdin ends as well
process.stdin.on('error', shutdown)
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, shutdown)
createInterface({ input: process.stdin })
  .on('line', line => { turn = turn.then(() => answer(line)) })
  .on('close', shutdown)
