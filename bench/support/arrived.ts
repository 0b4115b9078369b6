import type { Child } from './child.ts'

/**
 * Resolves once each client has so many rows.
 * @param receivers `support/receivers.ts`
 * @param wanted by client
 * @throws where one has more: a figure of that would be void
 */
export async function arrived (receivers: Child, wanted: number[]): Promise<void> {
  const received: number[] = await receivers.ask('received', wanted)
  if (received.some((rows, i) => rows !== wanted[i])) throw new Error('not every client has every row once')
}
