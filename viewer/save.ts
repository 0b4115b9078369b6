import type { Entry } from './entry.ts'
import { h } from './dom.ts'

/** A line for each row, as programs write them; the lines of a message follow as they are. */
export function asText (rows: readonly Entry[], withRun: boolean): string[] {
  return rows.map(({ time, level, run, text, extra }) => {
    const when = Number.isNaN(time) ? '-' : new Date(time).toISOString()
    return `${when} ${level} ${withRun ? `[${run ?? '-'}] ` : ''}${text}${extra && ` ${extra}`}\n`
  })
}

/** The rows as the stream has them, a line of JSON each. */
export function asJson (rows: readonly Entry[]): string[] {
  return rows.map((row) => `${JSON.stringify(row)}\n`)
}

export function download (lines: string[], name: string): void {
  const url = URL.createObjectURL(new Blob(lines, { type: 'text/plain' }))
  h('a', { href: url, download: name }).click()
  setTimeout(() => URL.revokeObjectURL(url), 60_000)
}

/** Returns whether it worked. */
export async function copy (text: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text)
    return true
  } catch {
    // Not without a secure context: then the old way.
    const before = document.activeElement
    const area = h('textarea', { class: 'pg-tail-aside', 'aria-hidden': 'true' })
    area.value = text
    document.body.append(area)
    area.select()
    const done = document.execCommand('copy')
    area.remove()
    if (before instanceof HTMLElement) before.focus({ preventScroll: true })
    return done
  }
}
