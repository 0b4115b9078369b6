import { createHash } from 'node:crypto'
import { readdir, readFile } from 'node:fs/promises'

export interface Asset {
  type: string
  body: string
  etag: string
}

const TYPES: Record<string, string> = { js: 'text/javascript; charset=utf-8', css: 'text/css; charset=utf-8', html: 'text/html; charset=utf-8' }

/** For a page that shows a log, and for its files. */
export const PAGE_HEADERS = {
  'cache-control': 'no-cache',
  // A log holds what strangers sent. Should one of them ever slip in as HTML, it is inert.
  'content-security-policy': "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; " +
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'",
  'referrer-policy': 'no-referrer',
  'x-content-type-options': 'nosniff'
}

/** Next to `lib`, in the package as in the source. */
const root = new URL('../../', import.meta.url)
/** The example and the tests run from source, where nothing is built: there the modules are compiled as they are read. */
const fromSource = import.meta.url.endsWith('.ts')

let read: Promise<Map<string, Asset>> | undefined

/** The files of the viewer and of the client, by their paths: `viewer/main.js`. Read once, for all tables. */
export function readAssets (): Promise<Map<string, Asset>> {
  read ??= readAll()
  return read
}

async function readAll (): Promise<Map<string, Asset>> {
  const assets = new Map<string, Asset>()
  const { transpile } = fromSource ? await import(new URL('transpile.ts', import.meta.url).href) : { transpile: null }
  for (const folder of ['client', 'viewer']) {
    for (const name of await readdir(new URL(`${folder}/`, root))) {
      // The messages are types, and no module asks for them.
      if (name.endsWith('.d.ts') || name.startsWith('messages.')) continue
      const text = await readFile(new URL(`${folder}/${name}`, root), 'utf8')
      const path = `${folder}/${name.replace(/\.ts$/, '.js')}`
      const type = TYPES[path.split('.').at(-1)!]
      if (type !== undefined) assets.set(path, asset(name.endsWith('.ts') ? transpile(text) : text, type))
    }
  }
  return assets
}

export function asset (body: string, type: string): Asset {
  return { type, body, etag: `"${createHash('sha256').update(body).digest('base64url').slice(0, 16)}"` }
}
