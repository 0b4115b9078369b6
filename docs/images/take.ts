// Takes the pictures of the README: `npm run pictures`, after `npm run build`. The example writes what they show.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { writeFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import Fastify from 'fastify'
import { chromium } from 'playwright-core'
import example, { options } from '../../examples/server.ts'

const WIDTH = 92
const FRAMES = 12
/** Seconds that each is shown. */
const PACE = 1
const LINE_HEIGHT = 18
const CHARACTER = 7.85
const ESC = '\x1b'
const COLOURS: Record<string, string> = { 0: '#d5dae3', 1: '#ffffff', 2: '#8a93a6', 31: '#ff7b72', 32: '#56d364', 33: '#e3b341', 34: '#79b8ff', 35: '#d2a8ff', 36: '#58d1d8' }

process.env.ADMIN_TOKEN = 'open'
const app = Fastify({ ...options, pluginTimeout: 60_000 })
await app.register(example, options)
const origin = await app.listen({ port: 0, host: '127.0.0.1' })

const browser = await chromium.launch({ executablePath: process.env.CHROMIUM_PATH || '/usr/bin/chromium', args: ['--no-sandbox'] })
const page = await browser.newPage({ viewport: { width: 1280, height: 800 }, deviceScaleFactor: 1 })
await page.goto(origin)
const streams = [1, 2, 3, 3].map((run) => fetch(`${origin}/logs/stream?run_id=${run}`))
await writeFile(file('monitor.svg'), draw(await watch()))
await page.waitForFunction("new Set([...document.querySelectorAll('.row .chip')].slice(-30).map(({ title }) => title)).size > 2")
await page.screenshot({ path: file('viewer.png') })
await browser.close()
for (const stream of streams) await (await stream).body?.cancel()
await app.close()

function file (name: string): string {
  return fileURLToPath(new URL(name, import.meta.url))
}

/** What a terminal of that width is sent, drawing by drawing. `script` of util-linux gives the program one. */
async function watch (): Promise<string[]> {
  const command = `stty cols ${WIDTH} rows 40; exec ${process.execPath} dist/lib/cli/main.js monitor --interval ${PACE} --url ${origin}/logs/status --header "authorization: Bearer $ADMIN_TOKEN"`
  const monitor = spawn('script', ['-qec', command, '/dev/null'], { stdio: ['ignore', 'pipe', 'inherit'] })
  let said = ''
  monitor.stdout.setEncoding('utf8').on('data', (text) => { said += text })
  const drawing = new RegExp(`${ESC}\\[\\?7l(.*?)${ESC}\\[J${ESC}\\[\\?7h`, 'gs')
  const drawings = () => [...said.matchAll(drawing)].map(([, text]) => text!.replaceAll(`${ESC}[K`, '').replaceAll('\r', '').replace(origin, 'http://127.0.0.1:3000'))
  // The first have no rates yet.
  while (drawings().length < 2 * FRAMES) await once(monitor.stdout, 'data')
  monitor.kill()
  return drawings().slice(-FRAMES)
}

/** A picture that moves, without a script: each drawing is there for its time. */
function draw (drawings: string[]): string {
  const lines = drawings.map((text) => text.trimEnd().split('\n'))
  const height = Math.max(...lines.map(({ length }) => length)) * LINE_HEIGHT + 44
  const width = Math.round(WIDTH * CHARACTER) + 32
  const frames = lines.map((each, index) => {
    const texts = each.map((line, row) => `<text x="16" y="${48 + row * LINE_HEIGHT}">${paint(line)}</text>`)
    return `<g style="animation-delay:${index * PACE}s"${index === 0 ? ' class="first"' : ''}>${texts.join('')}</g>`
  })
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" role="img" aria-label="fastify-pg-tail monitor">
<style>
text { font: 13px ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace; fill: ${COLOURS[0]}; white-space: pre }
g { visibility: hidden; animation: show ${drawings.length * PACE}s step-end infinite }
@keyframes show { 0% { visibility: visible } ${(100 / drawings.length).toFixed(3)}% { visibility: hidden } }
@media (prefers-reduced-motion: reduce) { g { animation: none } .first { visibility: visible } }
</style>
<rect width="100%" height="100%" rx="8" fill="#161b24"/>
${['#ff5f57', '#febc2e', '#28c840'].map((colour, index) => `<circle cx="${20 + index * 18}" cy="18" r="5.5" fill="${colour}"/>`).join('')}
${frames.join('\n')}
</svg>
`
}

function paint (line: string): string {
  return line.split(ESC).map((part) => {
    const [, code, rest] = /^\[(\d+)m(.*)$/.exec(part) ?? [null, '0', part]
    const text = rest!.replaceAll('&', '&amp;').replaceAll('<', '&lt;')
    return code === '0' || text === '' ? text : `<tspan fill="${COLOURS[code!]}"${code === '1' ? ' font-weight="bold"' : ''}>${text}</tspan>`
  }).join('')
}
