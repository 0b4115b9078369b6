// Chromium, and pages in it. What is asked in a page is a text: the tests know no DOM.

import { existsSync } from 'node:fs'
import { chromium, type Browser, type BrowserContext, type Page } from 'playwright-core'
import type { Test } from 'tap'

export const chromiumPath = process.env.CHROMIUM_PATH || '/usr/bin/chromium'
export const withoutChromium = existsSync(chromiumPath) ? false : `no Chromium at ${chromiumPath}; set CHROMIUM_PATH`

export async function startBrowser (t: Test): Promise<Browser> {
  const browser = await chromium.launch({
    executablePath: chromiumPath,
    args: ['--no-sandbox', '--disable-gpu', '--disable-background-networking', '--js-flags=--expose-gc']
  })
  t.teardown(() => browser.close())
  return browser
}

/** A page at that address. Errors in it, and violations of its policy, fail the test. */
export async function openPage (t: Test, context: Browser | BrowserContext, url: string, viewport = { width: 1280, height: 800 }): Promise<Page> {
  const page = 'newContext' in context ? await context.newPage({ viewport }) : await context.newPage()
  page.setDefaultTimeout(40_000)
  page.on('pageerror', (err) => t.fail('an error in the page', { err }))
  page.on('console', (message) => {
    if (message.text().includes('Content Security Policy')) t.fail(message.text())
  })
  t.teardown(() => page.close())
  await page.goto(url)
  return page
}
