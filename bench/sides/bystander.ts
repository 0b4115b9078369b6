// Hears what the row trigger sends, and does nothing with it: `bystander.ts <url>`.

import { setTimeout as sleep } from 'node:timers/promises'
import postgres from 'postgres'
import { serve } from '../support/child.ts'

const sql = postgres(process.argv[2] ?? '', { onnotice () {} })
let notifications = 0
await sql.listen('log_updates', () => { notifications++ })
serve({
  /** Resolves once it has heard so many. */
  async heard (wanted: number) {
    for (; ;) {
      if (notifications >= wanted) return
      await sleep(5)
    }
  }
})
