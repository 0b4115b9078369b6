import { byPurpose, type Columns, type Fault, type Inspection } from '../../postgres/table.ts'
import { ok, problem, warning, type Finding } from './finding.ts'

/** The plugin refuses to start, so as not to lose rows. */
const REFUSED = 'The plugin refuses to start on such a table.'

type About = Fault['about']

const WORSE: Partial<Record<About, string>> = {
  sequence: 'Rows may be missed, or clients not be told of a restart.',
  index: 'On a large table rows come late, and each read costs much.'
}

/** What the plugin itself looks at when it starts. */
export function * checkTable ({ name, role, relation, checked, faults, warnings }: Inspection, columns: Columns): Generator<Finding> {
  const fine: Record<About, string> = {
    table: `${name} is there${relation?.partitioned ? ', in partitions' : ''}`,
    privilege: `role ${role} may read ${name}`,
    columns: `all are there: ${byPurpose(columns).map(([, column]) => column).join(', ')}`,
    sequence: 'it counts upwards by one, and role and plugin can read it',
    index: 'there is one for reads by id, and one for replays of a run'
  }
  for (const about of checked) {
    const found = [
      ...faults.filter((fault) => fault.about === about).map(({ wrong, fix }) => problem(about, `${name}: ${wrong}`, REFUSED, ...fix, ...about === 'columns' ? ['To look again: fastify-pg-tail doctor --column <purpose>=<name>'] : [])),
      ...warnings.filter((fault) => fault.about === about).map(({ wrong, fix }) => warning(about, `${name}: ${wrong}`, WORSE[about]!, ...fix))
    ]
    if (found.length === 0) yield ok(about, fine[about])
    else yield * found
  }
}
