import type { Sql } from 'postgres'
import { holderNames, lockHolders, lookAtRows } from '../../postgres/look.ts'
import type { Inspection } from '../../postgres/table.ts'
import { ok, problem, warning, type Findings } from './finding.ts'
import { endOf, PREPARED } from './transactions.ts'

/** Milliseconds. */
const PATIENCE = 3000

/** Whether the role gets rows out of the table. */
export async function * checkRows (sql: Sql, { name, role }: Inspection, id: string): Findings {
  const { restricted, last, late } = await lookAtRows(sql, name, id, PATIENCE)
  if (restricted) {
    yield warning('rows', `row-level security is active: role ${role} gets only the rows that a policy lets through`, 'To whom others are denied they are just not there: nobody is told.',
      `create policy fastify_pg_tail on ${name} for select to ${role} using (true);`)
  }
  if (late) {
    const holders = await lockHolders(sql, [name], { read: true })
    yield holders.length > 0
      ? problem('rows', `${name} is locked, by ${holderNames(holders)}`, 'Whoever reads it waits until the lock is let go of.',
        ...holders.map((pid) => pid === null ? PREPARED : endOf(pid)))
      : problem('rows', `${name} did not say its last id within ${PATIENCE / 1000} s`, 'Each read may take as long.', 'Add the index that is missing, or look at what the server is busy with.')
  } else if (last === null) {
    yield warning('rows', `the table is empty for role ${role}`, 'There is nothing to show.', 'See whether it is the right table of the right database, and whether whoever writes has committed.')
  } else if (!restricted) yield ok('rows', `role ${role} gets them: the last id is ${last}`)
}
