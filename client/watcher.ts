import { Cursor } from './cursor.ts'
import type { StreamEvent } from './event-parser.ts'
import type { Message, Row, State, Stopped, Word } from './messages.ts'
import { Line } from './line.ts'
import { Recent } from './recent.ts'
import { newName, Tabs } from './tabs.ts'

/** Milliseconds between two hellos. */
const HELLO = 100
/** Ends of runs that are remembered, so that none is told twice. */
const MAX_STOPPED = 1000

const TURNS = 'Many tabs watch at once: they take turns'

export interface WatcherOptions {
  /** Without where to start. */
  stream: URL
  after: string | undefined
  tail: number | undefined
  headers: Record<string, string>
  credentials: RequestCredentials
  timeout: number
  shared: boolean
  onrows: (rows: Row[], cursor: string) => void
  onstate: (state: State, message: string) => void
  onreset: (message: string) => void
  onstopped: (stopped: Stopped) => void
}

/**
 * One tab that watches one stream: by a connection of its own, or by what the tab that leads says.
 *
 * All it knows is a cursor: the ids it has. A statement (`base`, `cursor`, `rows`) says that `rows` are all of what `cursor` has
 * and `base` lacks. So whoever has `base` may take it: show the rows it lacks by their ids, and have `cursor` as well from then on.
 * What a connection brings is such a statement, of where it was before; and so is what a tab that leads says. It does not
 * matter who says it, how often, or whose node was ahead. Whoever lacks something of `base` asks the server instead, with its own cursor.
 * docs/design.md has the rest.
 */
export class Watcher {
  #state: State = 'connecting'
  readonly #options: WatcherOptions
  readonly #tabs: Tabs
  readonly #line: Line
  #cursor: Cursor | null = null
  /**
   * A name for one life of the table, by whoever leads: reset gives another. Null: not known yet, since
   * this tab has only its own connection's word.
   */
  #life: string | null = null
  /** Lives that ended in a reset which this tab has followed. */
  readonly #past = new Set<string>()
  /** What the tab that leads says is enough: no connection of one's own. */
  #settled = false
  /** The server has let this tab in: not before that it listens to others. */
  #admitted = false
  #recent: Recent | null = null
  readonly #stopped = new Set<string>()
  #live: State = 'live'
  #reason = ''
  /** The server's words on how rows arrive. */
  #greeting = ''
  #saidHello = -Infinity
  #helloTimer: ReturnType<typeof setTimeout> | undefined

  constructor (options: WatcherOptions) {
    this.#options = options
    const { stream, after, tail, headers, credentials, timeout, shared } = options
    this.#tabs = new Tabs(shared, {
      name: `fastify-pg-tail stream ${stream}`,
      onword: (word) => this.#hear(word),
      onlead: () => this.#lead(),
      ondeposed: () => { this.#recent = null }
    })
    this.#line = new Line({
      origin: stream.origin,
      headers,
      credentials,
      timeout,
      where: () => {
        const url = new URL(stream)
        if (this.#cursor !== null) return { url, lastEventId: this.#cursor.forHeader() }
        if (after !== undefined) url.searchParams.set('after', after)
        else if (tail !== undefined) url.searchParams.set('tail', String(tail))
        return { url, lastEventId: null }
      },
      onevents: (events) => this.#read(events),
      onturns: () => this.#setState('polling', TURNS),
      ontrouble: (message) => this.#setState('reconnecting', message),
      onend: (state, message) => this.#end(state, message)
    })
    if (this.#tabs.leads) this.#lead()
  }

  get state (): State {
    return this.#state
  }

  get cursor (): string | null {
    return this.#cursor && String(this.#cursor)
  }

  close (): void {
    this.#end('closed', '')
  }

  get #over (): boolean {
    return this.#state === 'ended' || this.#state === 'refused' || this.#state === 'closed'
  }

  #end (state: 'ended' | 'refused' | 'closed', message: string): void {
    if (this.#state === 'closed') return
    this.#setState(state, message)
    this.#tabs.close()
    this.#line.close()
    clearTimeout(this.#helloTimer)
  }

  #setState (state: State, message: string): void {
    if (this.#over && state !== 'closed') return
    if (state === this.#state && message === this.#reason) return
    this.#state = state
    this.#reason = message
    // The end of one that leads is not that of the others: the next in line finds out for itself.
    if (this.#tabs.leads && !this.#over) this.#tabs.say({ type: 'state', state, message })
    this.#call(() => this.#options.onstate(state, message))
  }

  /** An error of the host's is the host's: no row is lost for it. */
  #call (task: () => void): void {
    try {
      task()
    } catch (error) {
      globalThis.reportError?.(error)
    }
  }

  // ---- What one's own connection brings ----

  #read (events: StreamEvent[]): void {
    let rows: Row[] = []
    let stopped: Stopped[] = []
    // Where this connection was is always covered: it began with what was there, and all it brought was taken.
    let cursor = this.#cursor
    const flush = () => {
      if (cursor !== null) this.#take(rows, cursor, stopped)
      rows = []
      stopped = []
    }
    for (const { id, data, retry } of events) {
      if (retry !== undefined) this.#line.retry = retry
      const message = data === undefined ? null : JSON.parse(data) as Message
      if (message?.type === 'reset') {
        flush()
        if (this.#over) return
        this.#reset(message.message)
        cursor = this.#cursor
        continue
      }
      if (id !== undefined) cursor = Cursor.parse(id) ?? cursor
      if (message?.type === 'log') rows.push(message)
      else if (message?.type === 'stopped') stopped.push(message)
      else if (message?.type === 'connected' || message?.type === 'mode') {
        flush()
        if (message.type === 'connected') {
          this.#admitted = true
          this.#line.greeted()
        }
        this.#live = message.mode === 'listen' ? 'live' : 'polling'
        this.#greeting = message.message
        this.#showLive()
      }
    }
    flush()
    if (this.#state === 'polling' && !this.#line.turns) this.#showLive()
    this.#sayHello()
  }

  #showLive (): void {
    if (this.#line.turns) this.#setState('polling', TURNS)
    else this.#setState(this.#live, this.#greeting)
  }

  /** What is new of these rows; and that this tab has all of what `cursor` has. */
  #take (rows: Row[], cursor: Cursor, stopped: Stopped[]): void {
    if (this.#over) return
    const mine = this.#cursor
    const fresh = mine === null ? rows : rows.filter(({ id }) => !mine.has(BigInt(id)))
    const news = stopped.filter(({ run_id: run }) => this.#remember(String(run)))
    if (mine !== null && fresh.length === 0 && news.length === 0 && mine.covers(cursor)) return
    const now = this.#cursor = mine === null ? cursor : mine.union(cursor)
    if (this.#tabs.leads) {
      this.#recent ??= new Recent(mine ?? now)
      this.#recent.push(now, fresh, news)
      this.#tabs.say({ type: 'rows', life: this.#life!, base: String(mine ?? now), cursor: String(now), rows: fresh, stopped: news })
    }
    if (fresh.length > 0) this.#call(() => this.#options.onrows(fresh, String(now)))
    for (const stop of news) {
      if (this.#over) return
      this.#call(() => this.#options.onstopped(stop))
      if (this.#isOfRun) this.#end('ended', stop.message)
    }
  }

  get #isOfRun (): boolean {
    return this.#options.stream.searchParams.has('run_id')
  }

  #remember (run: string): boolean {
    if (this.#stopped.has(run)) return false
    this.#stopped.add(run)
    if (this.#stopped.size > MAX_STOPPED) this.#stopped.delete(this.#stopped.values().next().value!)
    return true
  }

  /** Told by the server, on this tab's own connection. */
  #reset (message: string): void {
    const was = this.#life
    if (was !== null) this.#past.add(was)
    this.#forget(this.#tabs.leads ? newName() : null)
    if (this.#tabs.leads) {
      this.#recent = new Recent(Cursor.ZERO)
      this.#tabs.say({ type: 'reset', was: was!, life: this.#life!, message })
    }
    this.#call(() => this.#options.onreset(message))
  }

  #forget (life: string | null): void {
    this.#life = life
    this.#cursor = Cursor.ZERO
    this.#stopped.clear()
  }

  // ---- With other tabs ----

  #lead (): void {
    if (this.#over) return
    this.#life ??= newName()
    if (this.#cursor !== null) {
      const cursor = String(this.#cursor)
      this.#recent = new Recent(this.#cursor)
      // Whoever has that goes on listening; whoever has not gets it from the server.
      this.#tabs.say({ type: 'rows', life: this.#life, base: cursor, cursor, rows: [], stopped: [] })
    }
    this.#tabs.say({ type: 'state', state: this.#state, message: this.#reason })
    this.#unsettle()
  }

  /** A connection of one's own again. */
  #unsettle (): void {
    if (!this.#settled) return
    this.#settled = false
    this.#line.open()
  }

  /** Not at each row: the last hello is the one that counts. */
  #sayHello (): void {
    if (this.#over || this.#tabs.leads || this.#settled || !this.#admitted || this.#helloTimer !== undefined) return
    this.#helloTimer = setTimeout(() => {
      this.#helloTimer = undefined
      if (this.#over || this.#tabs.leads || this.#settled || this.#cursor === null) return
      this.#saidHello = performance.now()
      this.#tabs.say({ type: 'hello', cursor: String(this.#cursor), life: this.#life })
    }, Math.max(0, this.#saidHello + HELLO - performance.now()))
  }

  #hear (word: Word): void {
    if (this.#over) return
    if (this.#tabs.leads) this.#answer(word)
    else if (word.type === 'rows' && (word.to ?? this.#tabs.id) === this.#tabs.id) this.#follow(word)
    // Whoever is on its own sees for itself.
    else if (this.#settled && word.type === 'state') this.#setState(word.state, word.message)
    else if (this.#settled && word.type === 'reset') {
      if (word.was === this.#life) this.#followReset(word.was, word.life, word.message)
      else this.#unsettle()
    }
  }

  #followReset (was: string, life: string, message: string): void {
    this.#past.add(was)
    this.#forget(life)
    this.#call(() => this.#options.onreset(message))
  }

  /** As the one that leads. */
  #answer (word: Word): void {
    if (word.type === 'hello') {
      const theirs = Cursor.parse(word.cursor)
      const statement = theirs && this.#recent?.since(theirs)
      // To one that is new here, ends of runs from before are no news.
      const news = word.life === this.#life ? {} : { stopped: [] }
      if (statement) this.#tabs.say({ type: 'rows', life: this.#life!, to: word.from, ...statement, ...news })
    }
    this.#line.nudge()
    if (word.type === 'hello' || word.type === 'ping') this.#tabs.say({ type: 'state', state: this.#state, message: this.#reason })
  }

  /** As one of the others. */
  #follow ({ life, to: asked, base, cursor, rows, stopped }: Word & { type: 'rows' }): void {
    const mine = this.#cursor
    if (!this.#admitted || mine === null) return
    const from = Cursor.parse(base)
    const to = Cursor.parse(cursor)
    if (from === null || to === null) return
    // Of an unknown life it may be another table's word: not before that has all of what is here, which a table that begins anew has not.
    const known = life === this.#life || (to.covers(mine) && !this.#past.has(life))
    if (known && mine.covers(from)) {
      this.#life = life
      this.#take(rows, to, stopped)
      if (this.#over || this.#settled) return
      this.#settled = true
      this.#line.hangUp()
      // What state it is in.
      this.#tabs.say({ type: 'ping' })
    } else {
      this.#unsettle()
      if (asked === undefined) this.#sayHello()
    }
  }
}
