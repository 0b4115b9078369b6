import createError from '@fastify/error'

/**
 * Every error the plugin raises, in one table.
 * `FST_PG_TAIL_*`: the code in the JSON body and in the log. Those with status 500 are raised at the
 * start or in-process and never reach a client.
 */
export const errors = {
  /** An option is wrong: its name, what came, what would be right. */
  Option: createError<[name: string, came: string, right: string]>(
    'FST_PG_TAIL_OPTION', 'option "%s" is %s; %s', 500),
  /** The table cannot be followed: what is wrong and what fixes it. */
  Table: createError<[table: string, wrong: string, fix: string]>(
    'FST_PG_TAIL_TABLE', 'table %s cannot be tailed: %s. %s', 500),
  /** The server cannot be a source, such as a hot standby. */
  Server: createError<[wrong: string, fix: string]>(
    'FST_PG_TAIL_SERVER', 'this PostgreSQL server cannot be tailed: %s. %s', 500),
  /** The doorbell could not be installed. Not fatal: rows are polled for. */
  Install: createError<[table: string, why: string, fix: string, options: ErrorOptions]>(
    'FST_PG_TAIL_INSTALL', 'the doorbell on %s was not installed: %s. %s', 500),
  /** A run could not be stopped: it goes on, for everybody. */
  Stop: createError<[run: string, why: string, fix: string]>(
    'FST_PG_TAIL_STOP', 'run %s was not stopped: %s. %s', 500),
  /** A statement of ours got no answer in time. */
  Timeout: createError<[ms: number]>(
    'FST_PG_TAIL_TIMEOUT', 'no answer from PostgreSQL within %s ms', 503),
  Closed: createError('FST_PG_TAIL_CLOSED', 'the log stream is shutting down', 503),
  Cursor: createError<[why: string]>(
    'FST_PG_TAIL_CURSOR', 'the cursor is not valid: %s. Send the id of an event as it came, or 0 for the start', 400),
  Run: createError<[came: string, type: string]>(
    'FST_PG_TAIL_RUN', 'run_id %s is not a valid %s', 400),
  Level: createError('FST_PG_TAIL_LEVEL', 'level must be one or more level names, separated by commas', 400),
  /** As Fastify's validator says it. */
  Tail: createError<[max: number]>('FST_ERR_VALIDATION', 'querystring/tail must be an integer from 0 to %s', 400),
  Forbidden: createError<[why: string]>(
    'FST_PG_TAIL_FORBIDDEN', '%s', 403),
  Full: createError<[max: number]>(
    'FST_PG_TAIL_FULL', 'all %s streams of this node are taken; try again later', 503)
}

/** Whether PostgreSQL says that a text is no value of a type (class 22), or of a domain. */
export function isNoValue (error: unknown): boolean {
  const { code = '' } = error as { code?: string }
  return code.startsWith('22') || code === '23514'
}

/** Whether PostgreSQL says that a text has a character which the encoding of the database lacks. */
export function isUnwritable (error: unknown): boolean {
  return (error as { code?: string }).code === '22P05'
}

/** Whether PostgreSQL says that a text cannot name a relation: it has too many parts, say, or another database. */
export function isNoName (error: unknown): boolean {
  return /^(42|0A)/.test((error as { code?: string }).code ?? '')
}

/** The table, or the server, is not fit for it: trying again does not help. */
export function isRefusal (error: unknown): boolean {
  return ['FST_PG_TAIL_TABLE', 'FST_PG_TAIL_SERVER'].includes((error as { code?: string }).code ?? '')
}

/** For the status, which may be public: what others say may name hosts and users, and a refusal names columns. The log has it all. */
export function describe (error: Error & { code?: string }): string {
  const { code, message } = error
  return code === undefined || (code.startsWith('FST_') && !isRefusal(error)) ? message : `${code}; the log says more`
}
