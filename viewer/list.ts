import { h } from './dom.ts'
import { Heights } from './heights.ts'

/** Pixels above and below what is seen that are there as well. */
const MARGIN = 500
/** So close to the end counts as at the end. */
const END = 24

export interface ListOptions {
  /** What scrolls. */
  scroller: HTMLElement
  render: (number: number) => HTMLElement
  /** About how high it will be. */
  estimate: (number: number) => number
  /** It follows the end, or it does not any more. */
  onfollow: (following: boolean) => void
}

/** A list of which only what can be seen is in the page. Rows are as high as they are; others are guessed until they are seen. */
export class List {
  readonly #options: ListOptions
  readonly #heights = new Heights()
  readonly #canvas = h('div', { id: 'rows' })
  readonly #window = h('div', { class: 'window' })
  readonly #shown = new Map<number, HTMLElement>()
  #following = true
  #frame = 0
  #lastTop = 0
  #width = 0
  /** When it was painted last, and how many milliseconds that took. */
  #painted = -Infinity
  #took = 0
  #later: ReturnType<typeof setTimeout> | undefined

  constructor (options: ListOptions) {
    this.#options = options
    const { scroller } = options
    this.#canvas.append(this.#window)
    scroller.append(this.#canvas)
    scroller.addEventListener('scroll', () => this.#scrolled(), { passive: true })
    // A smooth scroll begins with a few pixels: without this the next row would pull it back.
    scroller.addEventListener('wheel', ({ deltaY }) => { if (deltaY < 0) this.pause() }, { passive: true })
    let touchY = 0
    scroller.addEventListener('touchstart', ({ touches }) => { touchY = touches[0]!.clientY }, { passive: true })
    scroller.addEventListener('touchmove', ({ touches }) => { if (touches[0]!.clientY > touchY + 4) this.pause() }, { passive: true })
    new ResizeObserver(() => {
      if (this.#width !== scroller.clientWidth) this.refresh()
      else this.paintSoon()
    }).observe(scroller)
  }

  get following (): boolean {
    return this.#following
  }

  /** So many more at the end. */
  append (count: number): void {
    for (let i = 0; i < count; i++) this.#heights.push(this.#options.estimate(this.#heights.end))
    this.paintSoon()
  }

  /** What was before that is gone. */
  dropTo (first: number): void {
    const gone = this.#heights.top(Math.min(first, this.#heights.end))
    this.#heights.dropTo(first)
    if (!this.#following) this.#options.scroller.scrollTop = this.#lastTop = Math.max(0, this.#options.scroller.scrollTop - gone)
    this.paintSoon()
  }

  clear (first: number): void {
    this.#heights.clear(first)
    this.#forget()
    this.follow()
  }

  /** All of them may look different now. What was at the top stays there. */
  refresh (): void {
    const { scroller, estimate } = this.#options
    this.#width = scroller.clientWidth
    const { first, end } = this.#heights
    const anchor = first < end ? this.#heights.at(this.#top) : first
    this.#heights.clear(first)
    for (let number = first; number < end; number++) this.#heights.push(estimate(number))
    this.#forget()
    if (!this.#following && anchor < end) this.#scrollTo(this.#heights.top(anchor))
    this.paintSoon()
  }

  /** This one may look different now. */
  renew (number: number): void {
    this.#shown.get(number)?.remove()
    this.#shown.delete(number)
    this.paintSoon()
  }

  follow (): void {
    this.#follow(true)
    this.paintSoon()
  }

  pause (): void {
    const { scroller } = this.#options
    if (scroller.scrollHeight > scroller.clientHeight) this.#follow(false)
  }

  /** Shows it, in the middle where it was not to be seen. */
  reveal (number: number): void {
    const { scroller } = this.#options
    const top = this.#heights.top(number)
    const height = this.#heights.get(number)
    const view = scroller.clientHeight
    this.#follow(false)
    if (top < this.#top || top + height > this.#top + view) {
      this.#scrollTo(top - Math.max(0, (view - height) / 2))
      this.paint()
      // Those around it were guessed, and are known now.
      this.#scrollTo(this.#heights.top(number) - Math.max(0, (view - this.#heights.get(number)) / 2))
    }
    this.paint()
  }

  scrollBy (pixels: number): void {
    if (pixels < 0) this.pause()
    this.#options.scroller.scrollBy(0, pixels)
  }

  toStart (): void {
    this.pause()
    this.#options.scroller.scrollTop = 0
  }

  /** The one at the top of what is seen. */
  get top (): number {
    return this.#heights.at(this.#top)
  }

  paintSoon (): void {
    // In a flood, reading goes before painting: that gets a quarter of the time.
    if (performance.now() - this.#painted < this.#took * 3) {
      this.#later ??= setTimeout(() => {
        this.#later = undefined
        this.paintSoon()
      }, this.#took * 3)
      return
    }
    this.#frame ||= requestAnimationFrame(() => this.paint())
  }

  paint (): void {
    const from = performance.now()
    cancelAnimationFrame(this.#frame)
    this.#frame = 0
    this.#arrange()
    this.#painted = performance.now()
    // One long frame, as after a sleep, must not hold up the next for long.
    this.#took = Math.min(30, this.#painted - from)
  }

  #arrange (): void {
    const { scroller } = this.#options
    const heights = this.#heights
    if (heights.first === heights.end) {
      this.#forget()
      this.#canvas.style.height = '0'
      return
    }
    // What is measured moves what is below it, so more or less may come into view: it settles at once.
    for (let round = 0; round < 5; round++) {
      this.#canvas.style.height = `${heights.total}px`
      if (this.#following) this.#toEnd()
      const top = this.#top
      const anchor = heights.at(top)
      const offset = top - heights.top(anchor)
      const from = heights.at(top - MARGIN)
      const to = heights.at(top + scroller.clientHeight + MARGIN)
      this.#fill(from, to)
      if (!this.#measure()) break
      if (!this.#following) this.#scrollTo(heights.top(anchor) + offset)
    }
    this.#canvas.style.height = `${heights.total}px`
    if (this.#following) this.#toEnd()
  }

  #fill (from: number, to: number): void {
    for (const [number, element] of this.#shown) {
      if (number >= from && number <= to) continue
      element.remove()
      this.#shown.delete(number)
    }
    let place = this.#window.firstChild
    for (let number = from; number <= to; number++) {
      let element = this.#shown.get(number)
      if (element === undefined) {
        element = this.#options.render(number)
        this.#shown.set(number, element)
        this.#window.insertBefore(element, place)
      } else place = element.nextSibling
    }
    this.#window.style.transform = `translateY(${this.#heights.top(from)}px)`
  }

  /** Returns whether one was not as guessed. */
  #measure (): boolean {
    let changed = false
    for (const [number, element] of this.#shown) {
      const { height } = element.getBoundingClientRect()
      if (Math.abs(height - this.#heights.get(number)) < 0.01) continue
      this.#heights.set(number, height)
      changed = true
    }
    return changed
  }

  #forget (): void {
    this.#shown.clear()
    this.#window.replaceChildren()
  }

  /** Pixels of the list above what is seen. */
  get #top (): number {
    return this.#options.scroller.scrollTop - this.#canvas.offsetTop
  }

  #scrollTo (top: number): void {
    // Or it would stop at what was the end.
    this.#canvas.style.height = `${this.#heights.total}px`
    this.#options.scroller.scrollTop = top + this.#canvas.offsetTop
    this.#lastTop = this.#options.scroller.scrollTop
  }

  #toEnd (): void {
    const { scroller } = this.#options
    scroller.scrollTop = scroller.scrollHeight
    this.#lastTop = scroller.scrollTop
  }

  #follow (following: boolean): void {
    if (following === this.#following) return
    this.#following = following
    this.#options.onfollow(following)
  }

  #scrolled (): void {
    const { scroller } = this.#options
    const up = scroller.scrollTop < this.#lastTop - 1
    const down = scroller.scrollTop > this.#lastTop + 1
    const below = scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight
    this.#lastTop = scroller.scrollTop
    if (this.#following && up && below > END) this.#follow(false)
    else if (!this.#following && down && below <= END) this.#follow(true)
    // Whoever scrolls looks: at once.
    this.#took = 0
    this.paintSoon()
  }
}
