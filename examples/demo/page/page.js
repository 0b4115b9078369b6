// The list of runs, and the viewer of the package beside it.
import { rowsOf } from './logs/assets/viewer/hints.js'
import { linkTo, readPlace } from './logs/assets/viewer/place.js'
import { Viewer } from './logs/assets/viewer/viewer.js'

const RUNS_MS = 3_000

const $ = (id) => document.getElementById(id)
const short = { hour: '2-digit', minute: '2-digit' }
const clocks = { local: new Intl.DateTimeFormat('en-GB', short), utc: new Intl.DateTimeFormat('en-GB', { ...short, timeZone: 'UTC' }) }

/** @type {Map<string, { id: number | string, name: string, status: string, rows: number | string, started_at: string, finished_at: string | null }>} */
let runs = new Map()
let timer
let busy = false

async function refreshRuns () {
  clearTimeout(timer)
  if (busy || document.hidden) return
  busy = true
  try {
    const response = await fetch('runs', { signal: AbortSignal.timeout(10_000) })
    if (response.ok) {
      runs = new Map((await response.json()).map((run) => [String(run.id), run]))
      paintRuns()
      viewer.refreshNames()
    }
  } catch {
    // The state of the connection already says that the server is away.
  } finally {
    busy = false
    timer = setTimeout(refreshRuns, RUNS_MS)
  }
}

/** Changes what differs and keeps the rest, so that focus and scroll position stay. */
function paintRuns () {
  const list = $('run-list')
  const old = new Map([...list.children].map((item) => [item.dataset.run, item]))
  let place = list.firstElementChild
  for (const [id, run] of runs) {
    let item = old.get(id)
    old.delete(id)
    if (!item) {
      item = $('run-template').content.firstElementChild.cloneNode(true)
      item.dataset.run = id
    }
    const link = item.firstElementChild
    const [, name, facts] = link.children
    link.dataset.status = run.status
    name.textContent = name.title = run.name
    const status = document.createElement('b')
    status.textContent = run.status
    facts.replaceChildren(`#${id} · `, status, ` · ${rowsOf(run.rows)}`)
    if (item !== place) list.insertBefore(item, place)
    else place = place.nextElementSibling
  }
  for (const item of old.values()) item.remove()
  paintChoice(viewer.place)
}

/** A link keeps the levels: to look at the errors of another run is one click. */
function paintChoice ({ run, levels }) {
  for (const link of document.querySelectorAll('.run')) {
    const id = link.parentElement.dataset.run ?? null
    link.href = linkTo({ run: id, levels, row: null, tail: null })
    if (id === run) link.setAttribute('aria-current', 'page')
    else link.removeAttribute('aria-current')
  }
}

function aboutRun (id, utc) {
  const run = runs.get(id)
  if (!run) return ''
  const time = (text) => clocks[utc ? 'utc' : 'local'].format(new Date(text))
  const end = run.finished_at ? `–${time(run.finished_at)}` : ''
  return `#${id} · ${run.status} · ${rowsOf(run.rows)} · ${time(run.started_at)}${end}`
}

const menu = document.createElement('button')
menu.id = 'menu'
menu.type = 'button'
menu.textContent = 'Runs'
menu.setAttribute('aria-controls', 'runs')

const viewer = new Viewer($('viewer'), {
  stream: 'logs/stream',
  levels: ['DEBUG', 'INFO', 'WARNING', 'ERROR'],
  nameOf: (id) => runs.get(id)?.name ?? `Run #${id}`,
  aboutRun,
  lead: [menu],
  onplace: paintChoice,
  onstopped: refreshRuns
})

$('runs').addEventListener('click', (event) => {
  const link = event.target.closest('a')
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return
  event.preventDefault()
  openMenu(false)
  viewer.go(readPlace(link.search))
  viewer.focus()
})

$('skip').addEventListener('click', (event) => {
  event.preventDefault()
  viewer.focus()
})

// ---- The list, on a phone ----

function openMenu (open) {
  menu.setAttribute('aria-expanded', String(open))
  $('runs').classList.toggle('open', open)
  $('veil').hidden = !open
  if (open) document.querySelector('.run[aria-current]')?.focus()
}

menu.addEventListener('click', () => openMenu(menu.getAttribute('aria-expanded') === 'false'))
$('veil').addEventListener('click', () => openMenu(false))
document.addEventListener('keydown', (event) => {
  if (event.key !== 'Escape' || $('veil').hidden) return
  openMenu(false)
  menu.focus()
})
document.addEventListener('visibilitychange', refreshRuns)

openMenu(false)
viewer.show()
refreshRuns()
