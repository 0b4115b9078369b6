import { PREFIX } from './browser.ts'
import { Cursor } from './cursor.ts'
import type { StreamEvent } from './event-parser.ts'
import { Leader } from './leader.ts'
import { Line } from './line.ts'
import type { Message, Row, State, Stopped, Word } from './messages.ts'
import { Progress } from './progress.ts'
import { newName, Tabs } from './tabs.ts'

/** Milliseconds between two hellos. */
const HELLO = 100

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
 * One tab that watches one stream: by a connection of its own, or by what the tab that leads says. What a connection brings is a
 * statement (`Progress`), of where it was before; and so is what a tab that leads says. Whoever lacks something of its base asks the
 * server instead, with its own cursor. docs/design.md has the rest.
 */
export class Watcher {
  #state: State = 'connecting'
  readonly #options: WatcherOptions
  readonly #tabs: Tabs
  readonly #line: Line
  readonly #progress = new Progress()
  readonly #leader: Leader
  /** What the tab that leads says is enough: no connection of one's own. */
  #settled = false
  /** The server has let this tab in: not before that it listens to others. */
  #admitted = false
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
      name: `${PREFIX} stream ${stream}`,
      onword: (word) => this.#hear(word),
      onlead: () => this.#lead(),
      ondeposed: () => this.#leader.end()
    })
    this.#leader = new Leader(this.#tabs, this.#progress)
    this.#line = new Line({
      origin: stream.origin,
      headers,
      credentials,
      timeout,
      hidden: () => this.#tabs.hidden,
      where: () => {
        const url = new URL(stream)
        const { cursor } = this.#progress
        if (cursor !== null) return { url, lastEventId: cursor.forHeader() }
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
    const { cursor } = this.#progress
    return cursor && String(cursor)
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
    if (this.#tabs.leads && !this.#over) this.#sayState()
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
    let at = ''
    const flush = () => {
      // Where this connection was is always covered: it began with what was there, and all it brought was taken.
      const cursor = Cursor.parse(at) ?? this.#progress.cursor
      if (cursor !== null) this.#take(rows, cursor, stopped)
      rows = []
      stopped = []
      at = ''
    }
    for (const { id, data, retry } of events) {
      if (retry !== undefined) this.#line.retry = retry
      const message = data === undefined ? null : JSON.parse(data) as Message
      if (message?.type === 'reset') {
        flush()
        if (this.#over) return
        this.#reset(message.message)
        continue
      }
      if (id !== undefined) at = id
      if (message?.type === 'log') rows.push(message)
      else if (message?.type === 'stopped') stopped.push(message)
      else if (message?.type === 'connected' || message?.type === 'mode') {
        flush()
        if (message.type === 'connected') {
          this.#admitted = true
          this.#line.greeted()
          if (this.#tabs.leads) this.#leader.sayWhere()
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

  #take (rows: Row[], cursor: Cursor, stopped: Stopped[]): void {
    if (this.#over) return
    const news = this.#progress.take(rows, cursor, stopped)
    if (news === null) return
    if (this.#tabs.leads) this.#leader.tell(news)
    if (news.rows.length > 0) this.#call(() => this.#options.onrows(news.rows, String(news.cursor)))
    for (const stop of news.stopped) {
      if (this.#over) return
      this.#call(() => this.#options.onstopped(stop))
      if (this.#options.stream.searchParams.has('run_id')) this.#end('ended', stop.message)
    }
  }

  /** Told by the server, on this tab's own connection; or, with the name of the new life, by the tab that leads. */
  #reset (message: string, life: string | null = this.#tabs.leads ? newName() : null): void {
    const was = this.#progress.life
    this.#progress.reset(life)
    if (this.#tabs.leads) this.#leader.reset(was!, message)
    this.#call(() => this.#options.onreset(message))
  }

  // ---- With other tabs ----

  #lead (): void {
    if (this.#over) return
    this.#leader.begin()
    this.#sayState()
    this.#unsettle()
  }

  #sayState (): void {
    this.#tabs.say({ type: 'state', state: this.#state, message: this.#reason })
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
      const { cursor, life } = this.#progress
      if (this.#over || this.#tabs.leads || this.#settled || cursor === null) return
      this.#saidHello = performance.now()
      this.#tabs.say({ type: 'hello', cursor: String(cursor), life })
    }, Math.max(0, this.#saidHello + HELLO - performance.now()))
  }

  #hear (word: Word): void {
    if (this.#over) return
    if (this.#tabs.leads) {
      // Nobody is to give up a connection for one that is not there.
      if (this.#line.up) this.#leader.answer(word)
      this.#line.nudge()
      if (word.type === 'hello' || word.type === 'ping') this.#sayState()
    } else if (word.type === 'rows' && (word.to ?? this.#tabs.id) === this.#tabs.id) this.#follow(word)
    // Whoever is on its own sees for itself.
    else if (this.#settled && word.type === 'state') this.#setState(word.state, word.message)
    else if (this.#settled && word.type === 'reset') {
      if (word.was === this.#progress.life) this.#reset(word.message, word.life)
      else this.#unsettle()
    }
  }

  /** As one of the others. */
  #follow ({ life, to: asked, base, cursor, rows, stopped }: Word & { type: 'rows' }): void {
    const from = Cursor.parse(base)
    const to = Cursor.parse(cursor)
    if (!this.#admitted || this.#progress.cursor === null || from === null || to === null) return
    if (this.#progress.accepts(life, from, to)) {
      this.#progress.life = life
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
