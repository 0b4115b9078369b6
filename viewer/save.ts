import type { Entry } from './entry.ts'
import { h } from './dom.ts'

/** A line for each row, as programs write them; the lines of a message follow as they are. */
export function asText (entries: readonly Entry[], withRun: boolean): string {
  return entries.filter(({ id }) => id !== null).map(({ time, level, run, text, extra }) => {
    const when = Number.isNaN(time) ? '-' : new Date(time).toISOString()
    return `${when} ${level} ${withRun ? `[${run ?? '-'}] ` : ''}${text}${extra && ` ${extra}`}\n`
  }).join('')
}

/** JSON, a line each. */
export function asJson (entries: readonly Entry[]): string {
  return entries.filter(({ id }) => id !== null).map(({ id, run, level, time, text, extra }) =>
    `${JSON.stringify({ id, run_id: run, level, timestamp: Number.isNaN(time) ? null : new Date(time).toISOString(), message: text, ...extra && { extra } })}\n`).join('')
}

export function download (text: string, name: string): void {
  const url = URL.createObjectURL(new Blob([text], { type: 'text/plain' }))
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
    const area = h('textarea', { class: 'aside', 'aria-hidden': 'true' })
    area.value = text
    document.body.append(area)
    area.select()
    const done = document.execCommand('copy')
    area.remove()
    return done
  }
}
