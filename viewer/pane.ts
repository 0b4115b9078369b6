import { h } from './dom.ts'
import type { Heights } from './heights.ts'

/** The rows that are in the page, one below the other. */
export class Pane {
  readonly element = h('div', { class: 'window' })
  /** The number of the first one. */
  first = 0
  readonly #render: (number: number) => HTMLElement
  /** Gets the focus of a row that goes. */
  readonly #heir: HTMLElement
  readonly #shown = new Map<number, HTMLElement>()

  constructor (render: (number: number) => HTMLElement, heir: HTMLElement) {
    this.#render = render
    this.#heir = heir
  }

  get (number: number): HTMLElement | undefined {
    return this.#shown.get(number)
  }

  /** Those, and no others. */
  fill (from: number, to: number): void {
    for (const [number, element] of this.#shown) if (number < from || number > to) this.#remove(number, element)
    let next = this.element.firstElementChild
    for (let number = from; number <= to; number++) {
      const shown = this.#shown.get(number)
      if (shown !== undefined) next = shown.nextElementSibling
      else {
        const element = this.#render(number)
        this.#shown.set(number, element)
        this.element.insertBefore(element, next)
      }
    }
    this.first = from
  }

  /** This one may look different now. */
  renew (number: number): void {
    const old = this.#shown.get(number)
    if (old === undefined) return
    const element = this.#render(number)
    this.#shown.set(number, element)
    this.#passOn(old)
    old.replaceWith(element)
  }

  renewAll (): void {
    for (const number of [...this.#shown.keys()]) this.renew(number)
  }

  /** What was before that is gone. */
  dropTo (first: number): void {
    for (const [number, element] of this.#shown) if (number < first) this.#remove(number, element)
  }

  clear (): void {
    this.dropTo(Infinity)
  }

  /** Returns whether one was not as high as was thought. */
  measure (heights: Heights): boolean {
    let changed = false
    for (const [number, element] of this.#shown) {
      const { height } = element.getBoundingClientRect()
      if (Math.abs(height - heights.get(number)) < 0.01) continue
      heights.set(number, height)
      changed = true
    }
    return changed
  }

  #remove (number: number, element: HTMLElement): void {
    this.#passOn(element)
    element.remove()
    this.#shown.delete(number)
  }

  #passOn (element: HTMLElement): void {
    if (element.contains(document.activeElement)) this.#heir.focus({ preventScroll: true })
  }
}
