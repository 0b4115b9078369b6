import type { Style } from './ansi.ts'
import { h } from './dom.ts'

/** Marks in one text: it may be nothing but matches. */
const MAX_MARKS = 500
const MAX_LINKS = 100

/** Characters of a URL in a text: nothing that ends one there, nothing that cannot be seen. Parentheses only in pairs. */
const ANY = '[^\\s<>"\'`\\\\()\\p{C}]'
const LAST = '[^\\s<>"\'`\\\\()\\p{C}.,:;!?*\\]}]'
const PAIR = `\\(${ANY}*\\)`
const LINK = new RegExp(`https?://(?:${ANY}|${PAIR})*(?:${LAST}|${PAIR})`, 'giu')

interface Part { from: number, to: number }

/** A text in its colours, with what is found marked, and links. */
export function textView (name: string, text: string, needle: RegExp | null, styles: Style[]): HTMLElement {
  const element = h('span', { class: name })
  const marks = needle === null ? [] : partsOf(text, new RegExp(needle, 'gi'), MAX_MARKS)
  const append = (parent: Element, { from, to }: Part) => {
    // Colours and links may begin in what is found, and end there.
    while (marks[0] !== undefined && marks[0].from < to) {
      const start = Math.max(from, marks[0].from)
      const end = Math.min(to, marks[0].to)
      if (from < start) parent.append(text.slice(from, start))
      parent.append(h('mark', {}, text.slice(start, end)))
      from = end
      if (marks[0].to > to) return
      marks.shift()
    }
    if (from < to) parent.append(text.slice(from, to))
  }
  const links = partsOf(text, LINK, MAX_LINKS)
  for (const [index, { from, classes }] of [{ from: 0, classes: '' }, ...styles].entries()) {
    const to = Math.min(text.length, styles[index]?.from ?? Infinity)
    if (from >= to) continue
    const parent = classes === '' ? element : element.appendChild(h('span', { class: classes }))
    let next = from
    while (links[0] !== undefined && links[0].from < to) {
      const link = links.shift()!
      // One of several colours would be several links.
      if (link.from < next || link.to > to) continue
      append(parent, { from: next, to: link.from })
      const a = h('a', { href: text.slice(link.from, link.to), target: '_blank', rel: 'noopener noreferrer' })
      append(a, link)
      parent.append(a)
      next = link.to
    }
    append(parent, { from: next, to })
  }
  return element
}

/** Where it is found; a pattern may match nothing at all. */
function partsOf (text: string, pattern: RegExp, most: number): Part[] {
  const parts: Part[] = []
  for (const { 0: { length }, index: from } of text.matchAll(pattern)) {
    if (length > 0 && parts.push({ from, to: from + length }) === most) break
  }
  return parts
}
