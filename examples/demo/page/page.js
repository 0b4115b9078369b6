// A viewer for the stream in one file: no framework, no build.
// Everything that comes from a row goes into the page as text, never as HTML.
/* global EventSource, ResizeObserver, location, requestAnimationFrame */

/** Rows in the page. More would make it slow; the table has them all. */
const MAX_ROWS = 2_000
/** Ids remembered against doubles: more than a reconnect can repeat. */
const MAX_SEEN = 20_000
/** Rows from before the page was opened. */
const TAIL = { run: 500, all: 200 }
const RETRY_MS = 2_000
const RUNS_MS = 3_000
/** So close to the end counts as at the end. */
const END_PX = 24
/** With more rows than this below the end, a reader who comes to the end is not carried off. */
const READ_ON_ROWS = 60

const LEVELS = ['DEBUG', 'INFO', 'WARNING', 'ERROR']

const $ = (id) => document.getElementById(id)
const count = new Intl.NumberFormat('en')
const clock = new Intl.DateTimeFormat('en-GB', { hour: '2-digit', minute: '2-digit', second: '2-digit', fractionalSecondDigits: 3 })
const day = new Intl.DateTimeFormat('en-GB', { dateStyle: 'medium', timeStyle: 'long' })
const short = new Intl.DateTimeFormat('en-GB', { hour: '2-digit', minute: '2-digit' })

// ---- What is chosen: it lives in location.hash, so that it can be linked and goes back ----

/** @returns {{ run: string | null, levels: Set<string> }} no run: all of them */
function readHash () {
  const params = new URLSearchParams(location.hash.slice(1))
  const run = /^\d{1,19}$/.test(params.get('run') ?? '') ? params.get('run') : null
  const named = (params.get('level') ?? '').toUpperCase().split(',').filter((level) => LEVELS.includes(level))
  return { run, levels: new Set(named.length ? named : LEVELS) }
}

function hashOf ({ run, levels }) {
  const parts = []
  if (run !== null) parts.push(`run=${run}`)
  if (levels.size < LEVELS.length) parts.push(`level=${LEVELS.filter((level) => levels.has(level)).join(',')}`)
  return `#${parts.join('&')}`
}

let chosen = readHash()

// ---- The list of runs ----

/** @type {Map<string, { id: number | string, name: string, status: string, rows: number | string, started_at: string, finished_at: string | null }>} */
let runs = new Map()
let runsTimer
let runsBusy = false

async function refreshRuns () {
  clearTimeout(runsTimer)
  if (runsBusy || document.hidden) return
  runsBusy = true
  try {
    const response = await fetch('runs', { signal: AbortSignal.timeout(10_000) })
    if (response.ok) {
      const list = await response.json()
      runs = new Map(list.map((run) => [String(run.id), run]))
      paintRuns()
    }
  } catch {
    // The state of the connection already says that the server is away.
  } finally {
    runsBusy = false
    runsTimer = setTimeout(refreshRuns, RUNS_MS)
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
    setText(name, run.name)
    if (facts.dataset.text !== factsOf(run)) {
      facts.dataset.text = factsOf(run)
      const status = document.createElement('b')
      status.textContent = run.status
      facts.replaceChildren(`#${id} · `, status, ` · ${rowsOf(run)}`)
    }
    if (item !== place) list.insertBefore(item, place)
    else place = place.nextElementSibling
  }
  for (const item of old.values()) item.remove()
  paintChoice()
  nameChips()
}

function factsOf (run) {
  return `${run.status} ${run.rows}`
}

function rowsOf (run) {
  return `${count.format(run.rows)} ${run.rows === 1 ? 'row' : 'rows'}`
}

function nameOf (id) {
  return runs.get(id)?.name ?? `Run #${id}`
}

function setText (element, text) {
  if (element.textContent !== text) element.textContent = text
}

/** What is chosen, in the list, the heading, the title and the level buttons. */
function paintChoice () {
  const { run, levels } = chosen
  for (const link of document.querySelectorAll('.run')) {
    const id = link.parentElement.dataset.run ?? null
    // A link keeps the levels: to look at the errors of another run is one click.
    link.setAttribute('href', hashOf({ run: id, levels }))
    if (id === run) link.setAttribute('aria-current', 'page')
    else link.removeAttribute('aria-current')
  }
  for (const button of $('levels').children) {
    button.setAttribute('aria-pressed', String(levels.has(button.dataset.level)))
  }
  const title = run === null ? 'All runs' : nameOf(run)
  setText($('title'), title)
  setText($('subtitle'), subtitle())
  const text = `${title} · fastify-pg-tail`
  if (document.title !== text) document.title = text
}

function subtitle () {
  const run = runs.get(chosen.run)
  if (!run) return ''
  const end = run.finished_at ? `–${short.format(new Date(run.finished_at))}` : ''
  return `#${run.id} · ${run.status} · ${rowsOf(run)} · ${short.format(new Date(run.started_at))}${end}`
}

// ---- The rows ----

const log = $('log')
const rows = $('rows')
const rowTemplate = $('row-template').content.firstElementChild

/** Ids that were shown, oldest first. */
const seen = new Set()
/** What came and is not in the page yet. While paused it waits here, so that the page stands still. */
let pending = []
let paintFrame = 0
let following = true
let unread = 0
let lastTop = 0
let needle = ''

function clearRows () {
  seen.clear()
  pending = []
  rows.replaceChildren()
  unread = 0
  following = true
  setText($('older'), '')
  setText($('empty'), 'Waiting for rows')
  paintSoon()
}

function addRow (row) {
  const id = String(row.id)
  if (seen.has(id)) return
  seen.add(id)
  if (seen.size > MAX_SEEN) seen.delete(seen.values().next().value)
  if (!following) unread++
  add(row)
}

function addNote (text) {
  add({ note: text })
}

function add (entry) {
  pending.push(entry)
  // A hidden tab paints nothing, and a paused one waits: neither may grow without end.
  // More than a pageful pushes out all that is in the page now, so no hole is ever shown.
  if (pending.length >= MAX_ROWS * 2) {
    pending.splice(0, pending.length - MAX_ROWS)
    older()
  }
  paintSoon()
}

function older () {
  setText($('older'), `The page keeps the newest ${count.format(MAX_ROWS)} rows; older rows are not shown.`)
}

/** Once a frame, however many rows came: 1,000 a second are 17 a frame. */
function paintSoon () {
  paintFrame ||= requestAnimationFrame(paint)
}

function paint () {
  paintFrame = 0
  if (following) {
    paintRows()
    toEnd()
    unread = 0
  }
  // Scroll anchoring holds what is read in place, which is wrong at the end only.
  log.classList.toggle('following', following)
  $('empty').hidden = rows.childElementCount > 0
  $('jump').hidden = following
  if (!following) {
    setText($('jump'), unread === 0 ? 'Newest rows' : `${count.format(unread)} new ${unread === 1 ? 'row' : 'rows'}`)
  }
}

function toEnd () {
  log.scrollTop = log.scrollHeight
  lastTop = log.scrollTop
}

function paintRows () {
  if (pending.length === 0) return
  const batch = pending.slice(-MAX_ROWS)
  const excess = rows.childElementCount + pending.length - MAX_ROWS
  pending = []
  const fragment = document.createDocumentFragment()
  for (const entry of batch) fragment.append(entry.note === undefined ? rowElement(entry) : noteElement(entry.note))
  rows.append(fragment)
  if (excess <= 0) return
  older()
  const surplus = document.createRange()
  surplus.setStart(rows, 0)
  surplus.setEnd(rows, rows.childElementCount - MAX_ROWS)
  surplus.deleteContents()
}

function rowElement (row) {
  const element = rowTemplate.cloneNode(true)
  const [time, level, chip, message] = element.children
  const date = new Date(row.timestamp)
  element.dataset.id = row.id
  element.dataset.level = row.level
  if (!Number.isNaN(date.getTime())) {
    time.textContent = clock.format(date)
    time.dateTime = date.toISOString()
    time.title = day.format(date)
  }
  level.textContent = row.level
  message.textContent = row.message
  if (chosen.run === null) {
    const run = String(row.run_id)
    element.classList.add('with-chip')
    chip.dataset.run = run
    chip.href = hashOf({ run, levels: chosen.levels })
    // The golden angle: neighbours get colours far apart.
    chip.style.setProperty('--hue', Math.round(Number(run) * 137.5) % 360)
    nameChip(chip)
    if (!runs.has(run)) refreshRunsSoon()
  } else {
    chip.remove()
  }
  if (needle !== '') element.hidden = !found(element)
  return element
}

function nameChip (chip) {
  const name = nameOf(chip.dataset.run)
  setText(chip, name)
  chip.title = `${name} (#${chip.dataset.run})`
  chip.toggleAttribute('data-unnamed', !runs.has(chip.dataset.run))
}

/** Rows of a new run can be here before its name is. */
function nameChips () {
  for (const chip of rows.querySelectorAll('[data-unnamed]')) nameChip(chip)
}

function noteElement (text) {
  const element = document.createElement('p')
  element.className = 'note'
  element.textContent = text
  return element
}

let runsWanted = -RUNS_MS

/** For the first row of a run that is not in the list. Old runs never are: so not for each row. */
function refreshRunsSoon () {
  if (performance.now() - runsWanted < RUNS_MS) return
  runsWanted = performance.now()
  setTimeout(refreshRuns, 200)
}

// ---- Following the end, or reading further up ----

function follow () {
  following = true
  paintSoon()
}

function pause () {
  if (!following || log.scrollHeight <= log.clientHeight) return
  following = false
  unread = pending.filter((entry) => entry.note === undefined).length
  paintSoon()
}

log.addEventListener('scroll', () => {
  const up = log.scrollTop < lastTop - 1
  const below = log.scrollHeight - log.scrollTop - log.clientHeight
  lastTop = log.scrollTop
  if (following) {
    if (up && below > END_PX) pause()
  } else if (!up && below <= END_PX) {
    if (pending.length > READ_ON_ROWS && pending.length < MAX_ROWS) {
      paintRows()
      unread = 0
      paintSoon()
    } else {
      follow()
    }
  }
}, { passive: true })

// A smooth scroll begins with a few pixels. Without this, the next row would pull it back down.
log.addEventListener('wheel', (event) => { if (event.deltaY < 0) pause() }, { passive: true })
log.addEventListener('keydown', (event) => {
  if (['ArrowUp', 'PageUp', 'Home'].includes(event.key)) pause()
  if (event.key === 'End') follow()
})
let touchY = 0
log.addEventListener('touchstart', (event) => { touchY = event.touches[0].clientY }, { passive: true })
log.addEventListener('touchmove', (event) => { if (event.touches[0].clientY > touchY + 4) pause() }, { passive: true })

// A turned phone or an opened keyboard must not leave the end out of sight.
new ResizeObserver(() => { if (following) toEnd() }).observe(log)

$('jump').addEventListener('click', () => {
  follow()
  log.focus({ preventScroll: true })
})

// The button lies over the rows, and must not stop the wheel.
$('jump').addEventListener('wheel', (event) => log.scrollBy(0, event.deltaY), { passive: true })

// ---- Finding: in the browser, among the rows in the page ----

$('find').addEventListener('input', (event) => {
  needle = event.target.value.trim().toLowerCase()
  for (const element of rows.children) element.hidden = needle !== '' && !found(element)
  paintSoon()
})

function found (element) {
  return element.textContent.toLowerCase().includes(needle)
}

// ---- The connection ----

function setState (state, message = '') {
  const connection = $('connection')
  if (connection.dataset.state !== state) connection.dataset.state = state
  setText($('state'), state)
  setText($('state-message'), message)
  connection.title = message
}

/** Leaves one stream and opens the next. A browser allows a server six at a time. */
function watch () {
  current?.close()
  clearRows()
  current = new Watch(chosen)
  setText($('older'), `Begins with the last ${current.tail} rows; older rows are not shown.`)
}

/** One choice, watched until the run ends or another is chosen. */
class Watch {
  #run
  #levels
  #lastId = ''
  #source
  #abort = new AbortController()
  #ended = false

  constructor ({ run, levels }) {
    this.#run = run
    this.#levels = levels
    setState('connecting')
    this.#open()
  }

  get tail () {
    return this.#run === null ? TAIL.all : TAIL.run
  }

  close () {
    this.#abort.abort()
    this.#source.close()
  }

  #url () {
    const params = new URLSearchParams()
    if (this.#run !== null) params.set('run_id', this.#run)
    // The server filters: the tail is then the last 500 errors, not the errors among the last
    // 500 rows, and what nobody wants to see is not sent. All levels: no filter, so that a level
    // without a button is shown too.
    if (this.#levels.size < LEVELS.length) params.set('level', [...this.#levels].join(','))
    if (this.#lastId !== '') params.set('after', this.#lastId)
    else params.set('tail', this.tail)
    return `logs/stream?${params}`
  }

  #open () {
    const source = this.#source = new EventSource(this.#url())
    source.onmessage = (event) => {
      if (event.lastEventId !== '') this.#lastId = event.lastEventId
      this.#receive(JSON.parse(event.data))
    }
    source.onerror = () => {
      if (this.#ended) {
        source.close()
      } else if (source.readyState === EventSource.CLOSED) {
        this.#retry()
      } else {
        setState('reconnecting', 'The connection was lost. Nothing is missed: it goes on from the last row.')
      }
    }
  }

  #receive (frame) {
    switch (frame.type) {
      case 'log':
        addRow(frame)
        break
      case 'connected':
        setState(stateOf(frame.mode), frame.message)
        break
      case 'mode':
        setState(stateOf(frame.mode), frame.message)
        addNote(frame.message)
        break
      case 'stopped':
        this.#stopped(frame)
        break
      case 'reset':
        clearRows()
        addNote(frame.message ?? 'The table was emptied or restored. What was shown before is gone.')
        break
    }
  }

  #stopped ({ run_id: run, status, message, rows }) {
    const text = [message ?? status, rows === undefined ? '' : `${count.format(rows)} ${rows === 1 ? 'row' : 'rows'}`]
    // Among all runs, the end of one is news, not the end.
    if (this.#run === null) text.unshift(nameOf(String(run)))
    else this.#end(message)
    addNote(text.filter(Boolean).join(' · '))
    refreshRuns()
  }

  #end (message) {
    this.#ended = true
    setState('ended', message)
    setText($('empty'), 'No rows')
    // Left open, it would reconnect once more, only to be told 204.
    this.close()
  }

  /** EventSource has given up: by hand then, from where it was. It never says why; a request does. */
  async #retry () {
    const { signal } = this.#abort
    setState('reconnecting', 'The server did not take the connection. The page tries again.')
    while (!signal.aborted) {
      await new Promise((resolve) => setTimeout(resolve, RETRY_MS))
      if (signal.aborted) return
      const answer = await this.#ask()
      if (signal.aborted) return
      if (answer.status === 200) return this.#open()
      if (answer.status === 204) return this.#end('The run has ended')
      if (answer.status === 400 && this.#lastId !== '') {
        // The place is not known there any more. Begin again; rows already here are not doubled.
        this.#lastId = ''
      } else if ([400, 401, 403, 404].includes(answer.status)) {
        // A small screen has no room for the reason beside the state.
        addNote(answer.message)
        return setState('refused', answer.message)
      } else if (answer.message) {
        setState('reconnecting', answer.message)
      }
    }
  }

  async #ask () {
    const question = new AbortController()
    try {
      const signal = AbortSignal.any([question.signal, this.#abort.signal, AbortSignal.timeout(10_000)])
      const response = await fetch(this.#url(), { signal, headers: { accept: 'text/event-stream' } })
      const { status } = response
      const message = status >= 400 ? (await response.json()).message : ''
      return { status, message: message || `The server answered ${status}.` }
    } catch {
      return { status: 0, message: '' }
    } finally {
      // An open stream must not stay behind.
      question.abort()
    }
  }
}

function stateOf (mode) {
  return mode === 'listen' ? 'live' : 'polling'
}

// ---- Choosing ----

/** @type {Watch | undefined} */
let current

function choose () {
  chosen = readHash()
  closeMenu()
  paintChoice()
  watch()
}

window.addEventListener('hashchange', choose)

$('levels').addEventListener('click', ({ target }) => {
  const { level } = target.dataset
  if (!level) return
  const levels = new Set(chosen.levels)
  if (!levels.delete(level)) levels.add(level)
  // No level at all would show nothing for ever: then rather all of them.
  location.hash = hashOf({ run: chosen.run, levels: levels.size ? levels : new Set(LEVELS) })
})

$('menu').addEventListener('click', () => openMenu($('menu').getAttribute('aria-expanded') === 'false'))
$('veil').addEventListener('click', () => closeMenu())
document.addEventListener('keydown', (event) => {
  if (event.key !== 'Escape' || $('veil').hidden) return
  closeMenu()
  $('menu').focus()
})

function closeMenu () {
  openMenu(false)
}

function openMenu (open) {
  $('menu').setAttribute('aria-expanded', String(open))
  $('runs').classList.toggle('open', open)
  $('veil').hidden = !open
  if (open) document.querySelector('.run[aria-current]')?.focus()
}

// The click on the run that is already chosen changes no hash, but it should close the list.
$('runs').addEventListener('click', ({ target }) => { if (target.closest('a')) closeMenu() })

document.addEventListener('visibilitychange', refreshRuns)

choose()
refreshRuns()
