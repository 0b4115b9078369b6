import type { Sql } from 'postgres'
import { doctorCommand, installCommand, uninstallCommand } from '../../commands.ts'
import { otherBell } from '../../postgres/bell.ts'
import { readTriggers, verify, type InstallTarget } from '../../postgres/install.ts'
import { query } from '../../postgres/query.ts'
import { likelier } from '../other-bell.ts'
import { ok, problem, warning, type Findings } from './finding.ts'
import type { Server } from './server.ts'

const SILENT = 'Without it the plugin polls, once a second by default; the end of a run is noticed within seconds.'
const INCOMPLETE = 'New rows ring, all the same. But the end of a run may be noticed seconds later, stop() end it on one node only, or the payload be another one.'

/**
 * What rings for new rows, and what this role may do with ours.
 * @param columns as `--column` takes them
 */
export async function * checkTrigger (sql: Sql, target: InstallTarget, columns: readonly string[], { max_prepared_transactions: prepared, role }: Server): Findings {
  const { bell, missing, remedy, version, bundled } = await verify(sql, target)
  const others = (await readTriggers(sql, target)).filter(({ part, foreign }) => part === 'log' && foreign).map(({ name, place }) => `${name} on ${place}`)
  const other = await otherBell(sql, target)
  const owner = await ownerOf(sql, target)
  const say = (command: string, ...when: string[]) => {
    const how = [...when, ...owner === null ? [] : [`as the owner of the table, role ${owner}`]].join(', ')
    return how === '' ? command : `${how[0]!.toUpperCase()}${how.slice(1)}: ${command}`
  }
  if (missing.length > 0) {
    yield (bell === 'none' ? problem : warning)('trigger', missing.join('; '), bell === 'none' ? SILENT : INCOMPLETE,
      ...other === null ? [] : [likelier(target, other, doctorCommand({ ...target, ...other }, columns))],
      say(installCommand(target), ...other === null ? [] : ['otherwise']),
      ...remedy.map((each) => `or by hand: ${each}`))
  }
  if (missing.length === 0 && bell === 'own') yield ok('trigger', `it is on ${target.table}, enabled, everywhere, and as version ${version} makes it`)
  if (version !== null && version > bundled) {
    yield warning('trigger', `the schema has version ${version}, this package brings ${bundled}`, 'Another app has a newer one.', 'Upgrade this package: npm install fastify-pg-tail')
  }
  if (others.length > 0) {
    yield bell === 'own'
      ? warning('notifies', `another trigger notifies channel ${target.channel}, too: ${others.join(', ')}`,
        'It rings for every row, whether somebody sleeps or not: commits that notify wait for each other.', 'Drop it, or use another channel.')
      : ok('notifies', `another trigger notifies channel ${target.channel}: ${others.join(', ')}`)
  }
  if (bell === 'own' && prepared > 0) {
    yield warning('two-phase', `max_prepared_transactions is ${prepared}`,
      'PREPARE TRANSACTION fails after the trigger has rung. It is harmless where nobody prepares transactions that write to the table.',
      'Where somebody does, set the option install: false, and:', say(uninstallCommand(target.table)))
  }
  yield * checkPrivileges(sql, target, role)
}

async function * checkPrivileges (sql: Sql, { runs }: InstallTarget, role: string): Findings {
  const [row] = await query(sql, `
    select to_regnamespace('fastify_pg_tail') is not null as there,
      (select has_schema_privilege(oid, 'usage') from pg_namespace where nspname = 'fastify_pg_tail') as usable,
      (select has_table_privilege(c.oid, 'select') and has_table_privilege(c.oid, 'insert')
        from pg_class c join pg_namespace n on n.oid = c.relnamespace where n.nspname = 'fastify_pg_tail' and c.relname = 'stopped_run') as stops,
      has_table_privilege($1::text::regclass, 'select') as runs`, [runs ?? null])
  const { there, usable, stops, runs: readable } = row!
  if (there && usable && stops) yield ok('privilege', `role ${role} may stop runs, and see which were stopped`)
  else if (there) {
    yield warning('privilege', `role ${role} may not stop runs for every node, nor see which were stopped`, 'stop() ends a run on one node only.',
      `grant usage on schema fastify_pg_tail to ${role};`, `grant select, insert on fastify_pg_tail.stopped_run to ${role};`)
  }
  if (readable === false) {
    yield problem('privilege', `role ${role} may not read ${runs}`, 'Reads fail, and no end of a run is noticed.', `grant select on ${runs} to ${role};`)
  }
}

/** Of those of the tables that this role does not own; null: it owns them. */
async function ownerOf (sql: Sql, { table, runs }: InstallTarget): Promise<string | null> {
  const [row] = await query(sql, `select string_agg(distinct quote_ident(pg_get_userbyid(relowner)), ', ') as owner from pg_class
    where oid in ($1::text::regclass, $2::text::regclass) and not pg_has_role(relowner, 'usage')`, [table, runs ?? null])
  return row!['owner']
}
