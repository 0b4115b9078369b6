import { h } from './dom.ts'
import { watchGestures } from './gestures.ts'
import { Heights } from './heights.ts'
import { Painter } from './painter.ts'
import { Pane } from './pane.ts'
import { Scale } from './scale.ts'
import { watchSelection } from './selection.ts'

/** Pixels above and below what is seen that are there as well. */
const MARGIN = 500
/** So close to the end counts as at the end. */
const END = 24
/** Pixels below the last row. */
const FOOT = 14

export interface ListOptions {
  /** What scrolls. What it holds already stays above the rows. */
  scroller: HTMLElement
  render: (number: number) => HTMLElement
  /** About how high it will be. */
  estimate: (number: number) => number
  /** Learns from the rows in the page how high others will be. Returns whether there was one to learn from. */
  learn: () => boolean
  /** It follows the end, or it does not any more. */
  onfollow: (following: boolean) => void
}

/** A list of which only what can be seen is in the page. Rows are as high as they are; others are guessed until they are seen. */
export class List {
  readonly #options: ListOptions
  readonly #heights = new Heights()
  readonly #scale = new Scale()
  readonly #canvas = h('div', { id: 'rows' })
  readonly #pane: Pane
  #following = true
  /** How high rows are has to be learned, again. */
  #unlearned = true
  #width = 0
  readonly #painter = new Painter(() => this.#arrange())

  constructor (options: ListOptions) {
    this.#options = options
    const { scroller, render } = options
    this.#pane = new Pane(render, scroller)
    this.#canvas.append(this.#pane.element)
    scroller.append(this.#canvas)
    scroller.addEventListener('scroll', () => this.#scrolled(), { passive: true })
    watchGestures(scroller, () => this.pause(), () => { if (this.#scale.below <= END) this.follow() })
    watchSelection(scroller, () => this.pause())
    new ResizeObserver(() => {
      if (this.#width !== scroller.clientWidth) this.remeasure()
      else this.#painter.soon()
    }).observe(scroller)
  }

  get following (): boolean {
    return this.#following
  }

  /** The first and the last of those that can be seen whole; where none can, of those that are seen. */
  get inView (): { first: number, last: number } {
    const heights = this.#heights
    const top = this.#top
    const bottom = top + this.#options.scroller.clientHeight
    const first = heights.at(top)
    const last = heights.at(bottom)
    if (last - first < 2) return { first, last }
    return {
      first: heights.top(first) < top - 1 ? first + 1 : first,
      last: heights.top(last) + heights.get(last) > bottom + 1 ? last - 1 : last
    }
  }

  /** So many more at the end. */
  append (count: number): void {
    for (let i = 0; i < count; i++) this.#heights.push(this.#options.estimate(this.#heights.end))
    this.#painter.soon()
  }

  /** What was before that is gone. */
  dropTo (first: number): void {
    // Who leaves the end before the next painting stays with what is seen.
    this.#scale.top -= this.#heights.top(first)
    this.#heights.dropTo(first)
    this.#pane.dropTo(first)
    this.#painter.soon()
  }

  clear (first: number): void {
    this.#heights.clear(first)
    this.#pane.clear()
    this.#unlearned = true
    this.follow()
  }

  /** This one may look different now. */
  renew (number: number): void {
    this.#pane.renew(number)
    this.#painter.soon()
  }

  /** All of them may look different now, but are as high as before. */
  renewAll (): void {
    this.#pane.renewAll()
    this.#painter.soon()
  }

  /** All of them may be higher or lower now. What was at the top stays there, also in the middle of a row. */
  remeasure (): void {
    this.#width = this.#options.scroller.clientWidth
    this.#unlearned = true
    this.renewAll()
  }

  follow (): void {
    this.#follow(true)
    this.#painter.soon()
  }

  /** Where all can be seen there is nothing to leave. */
  pause (): void {
    if (this.#scale.scrolls) this.#follow(false)
  }

  /** Shows it, in the middle where it was not to be seen. */
  reveal (number: number): void {
    this.#painter.now()
    this.pause()
    const top = this.#heights.top(number)
    if (top < this.#top || top + this.#heights.get(number) > this.#top + this.#options.scroller.clientHeight) {
      this.#toMiddle(number)
      // Those around it were guessed, and are known now.
      this.#toMiddle(number)
    }
  }

  /** Shows something that is in a row. */
  revealIn (number: number, selector: string): void {
    const element = this.#pane.get(number)?.querySelector(selector)
    if (element == null) return
    const view = this.#options.scroller.getBoundingClientRect()
    const { top, bottom } = element.getBoundingClientRect()
    if (top < view.top || bottom > view.bottom) {
      this.#scale.top += (top + bottom - view.top - view.bottom) / 2
      this.#painter.now()
    }
    // Sideways, where lines do not wrap.
    element.scrollIntoView({ block: 'nearest', inline: 'nearest' })
  }

  scrollBy (pixels: number): void {
    if (pixels < 0) this.pause()
    this.#options.scroller.scrollBy(0, pixels)
  }

  toStart (): void {
    this.pause()
    this.#scale.top = 0
    this.#painter.soon()
  }

  #arrange (): void {
    const { scroller } = this.#options
    const heights = this.#heights
    // Where nothing can be seen, nothing can be measured.
    if (scroller.clientHeight === 0) return
    this.#scrolled()
    this.#settle()
    if (heights.first === heights.end) return
    const findPlace = this.#holdPlace()
    if (this.#unlearned && this.#learn()) findPlace()
    // What is measured moves what is below it, so more or less may come into view: it settles at once.
    for (let round = 0; round < 5; round++) {
      this.#settle()
      this.#fill()
      if (!this.#pane.measure(heights)) break
      findPlace()
    }
    this.#settle()
    // All can be seen: there is nothing that was left.
    if (!this.#scale.scrolls) this.#follow(true)
    this.#widen()
    const { top, scroll } = this.#scale
    this.#pane.element.style.transform = `translateY(${heights.top(this.#pane.first) - top + scroll}px)`
  }

  #fill (): void {
    this.#pane.fill(this.#heights.at(this.#top - MARGIN), this.#heights.at(this.#top + this.#options.scroller.clientHeight + MARGIN))
  }

  /** Guesses all heights anew, where there is a row to learn from. */
  #learn (): boolean {
    const heights = this.#heights
    this.#fill()
    // Before it is learned from: lines wrap in what can be seen, not in what a long one needed.
    this.#canvas.style.minWidth = ''
    if (!this.#options.learn()) return false
    this.#unlearned = false
    const { first, end } = heights
    heights.clear(first)
    for (let number = first; number < end; number++) heights.push(this.#options.estimate(number))
    return true
  }

  /** The scroller and the scale are as high as the rows, and where they should be. */
  #settle (): void {
    const { scroller } = this.#options
    const { offsetTop } = this.#canvas
    const scale = this.#scale
    if (this.#following) scale.top = Infinity
    const height = scale.resize(offsetTop + this.#heights.total + FOOT, scroller.clientHeight)
    this.#canvas.style.height = `${height - offsetTop}px`
    const { wanted } = scale
    if (wanted !== scale.scroll) scroller.scrollTop = wanted
    scale.scroll = scroller.scrollTop
  }

  /** Where lines do not wrap: a long one that goes out of view must not pull the others back. */
  #widen (): void {
    const { offsetWidth } = this.#pane.element
    if (offsetWidth > this.#canvas.offsetWidth) this.#canvas.style.minWidth = `${offsetWidth}px`
  }

  /** Pixels of the rows above what is seen. */
  get #top (): number {
    return this.#scale.top - this.#canvas.offsetTop
  }

  /** What stands at the top; the function goes there again, however heights have changed by then. */
  #holdPlace (): () => void {
    const heights = this.#heights
    // Above the first row no height matters.
    if (this.#top <= 0) return () => {}
    const number = heights.at(this.#top)
    const inside = (this.#top - heights.top(number)) / heights.get(number)
    return () => { this.#scale.top = this.#canvas.offsetTop + heights.top(number) + inside * heights.get(number) }
  }

  #toMiddle (number: number): void {
    const room = this.#options.scroller.clientHeight - this.#heights.get(number)
    this.#scale.top = this.#canvas.offsetTop + this.#heights.top(number) - Math.max(0, room / 2)
    this.#painter.now()
  }

  #follow (following: boolean): void {
    if (following === this.#following) return
    this.#following = following
    this.#options.onfollow(following)
  }

  #scrolled (): void {
    const { scrollTop, scrollHeight, clientHeight } = this.#options.scroller
    const moved = scrollTop - this.#scale.scroll
    // The list itself was it.
    if (moved === 0) return
    this.#scale.scrolled(scrollTop)
    // As the page has it: a scroller that gets higher is scrolled up, and is at its end all the same.
    const below = scrollHeight - scrollTop - clientHeight
    // A smooth scroll begins with a pixel: the next painting would go back to the end.
    if (this.#following && moved < 0 && below > 1) this.#follow(false)
    else if (!this.#following && moved > 1 && below <= END) this.#follow(true)
    // Whoever scrolls looks.
    this.#painter.next()
  }
}
