import type { Bell } from '../postgres/bell.ts'
import type { InstallTarget } from '../postgres/install.ts'

/** What is likelier than a wrong trigger: that it is right for the app, and an option was left out here. @param command with the bell that is there */
export function likelier (target: InstallTarget, bell: Bell, command: string): string {
  const options = (['channel', 'payload'] as const).filter((name) => bell[name] !== target[name])
  return `Where the app has the option${options.length > 1 ? 's' : ''} ${options.map((name) => `${name}: ${JSON.stringify(bell[name])}`).join(' and ')}: ${command}`
}

/** What was changed of it. */
export function before (target: InstallTarget, bell: Bell): string {
  return [
    ...bell.channel === target.channel ? [] : [`it rang channel ${JSON.stringify(bell.channel)} before`],
    ...bell.payload === target.payload ? [] : [bell.payload === 'row' ? 'it sent rows before' : 'it sent no rows before']
  ].join('; ')
}
