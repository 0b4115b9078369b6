// What can be seen of the viewer in a page. Every wait is for something that the page shows.

import { readFile } from 'node:fs/promises'
import type { Page } from 'playwright-core'

export interface SavedRow {
  id: number | string
  run_id: number | string | null
  level: string | null
  timestamp: string | null
  message: string | null
  [extra: string]: unknown
}

export function state (page: Page, name: string): Promise<void> {
  return page.locator(`#connection[data-state="${name}"]`).waitFor()
}

/** The row is in the page, wherever it is scrolled to. */
export function shown (page: Page, text: string, timeout = 40_000): Promise<void> {
  return page.locator('.row .message', { hasText: text }).last().waitFor({ state: 'attached', timeout })
}

/** The row that was gone to. */
export function selected (page: Page, text: string | RegExp): Promise<void> {
  return page.locator('.row[aria-current]', { hasText: text }).waitFor()
}

/** All that is loaded, as the viewer saves it: of the list, only what can be seen is in the page. */
export async function rows (page: Page): Promise<SavedRow[]> {
  const downloading = page.waitForEvent('download')
  await page.locator('#log').focus()
  await page.keyboard.press('Shift+D')
  const text = await readFile(await (await downloading).path(), 'utf8')
  return text.split('\n').slice(0, -1).map((line) => JSON.parse(line))
}

export async function messages (page: Page): Promise<Array<string | null>> {
  return (await rows(page)).map(({ message }) => message)
}

/** It has not scrolled for ten frames, which is longer than the viewer ever puts off its painting. */
export async function still (page: Page): Promise<void> {
  await page.evaluate(`new Promise((resolve) => {
    const log = document.getElementById('log')
    let last
    let same = 0
    const look = () => {
      same = log.scrollTop === last ? same + 1 : 0
      last = log.scrollTop
      if (same < 10) requestAnimationFrame(look)
      else resolve()
    }
    look()
  })`)
}

/** Pixels from the top of the page. */
export async function topOf (page: Page, text: string | RegExp): Promise<number> {
  await still(page)
  return (await page.locator('.row', { hasText: text }).boundingBox())!.y
}

/** Whether all of it can be seen. */
export async function inView (page: Page, selector: string, text: string | RegExp = ''): Promise<boolean> {
  const found = page.locator(selector, { hasText: text })
  if (await found.count() === 0) return false
  const [row, log] = await Promise.all([found.last().boundingBox(), page.locator('#log').boundingBox()])
  return row!.y >= log!.y && row!.y + row!.height <= log!.y + log!.height
}
