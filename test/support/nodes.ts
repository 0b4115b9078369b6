import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import type { FastifyPgTailOptions } from '../../plugin.ts'
import type { TestLike } from './postgres.ts'

/** Starts the plugin in a process of its own; resolves with its URL. */
export async function startNode (t: TestLike, connectionString: string, options: Partial<FastifyPgTailOptions> = {}): Promise<string> {
  const child = spawn(process.execPath, ['--import', 'tsx', fileURLToPath(new URL('node.ts', import.meta.url)), connectionString, JSON.stringify(options)],
    { stdio: ['pipe', 'pipe', 'inherit'] })
  t.teardown(async () => {
    if ((child.exitCode ?? child.signalCode) !== null) return
    child.stdin.end()
    await once(child, 'exit')
  })
  const [url] = await once(createInterface(child.stdout), 'line')
  return url
}
