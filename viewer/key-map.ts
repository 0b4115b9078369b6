import type { Commands } from './commands.ts'
import type { Key } from './keys.ts'
import type { Rows } from './rows.ts'
import type { Settings } from './settings.ts'
import type { Action } from './toolbar.ts'

/**
 * Which key does what, and which button.
 * @param help shows the overview of the keys, or hides it
 */
export function keysOf (commands: Commands, rows: Rows, settings: Settings, help: () => void): { keys: Key[], actions: Action[] } {
  const once = (keys: string[], text: string, run: () => void): Key => ({ keys, text, run, repeats: false })
  const often = (keys: string[], text: string, run: () => void): Key => ({ keys, text, run, repeats: true })
  return {
    keys: [
      once(['/'], 'Find', () => commands.focusFind()),
      often(['n'], 'Next match', () => rows.moveToMatch(1)),
      often(['N'], 'Previous match', () => rows.moveToMatch(-1)),
      often(['j', 'ArrowDown'], 'Next row', () => rows.move(1)),
      often(['k', 'ArrowUp'], 'Previous row', () => rows.move(-1)),
      often(['e'], 'Next error', () => commands.moveToError(1)),
      often(['E'], 'Previous error', () => commands.moveToError(-1)),
      once(['G', 'End'], 'Newest rows, and follow them', () => commands.newest()),
      once(['g', 'Home'], 'Oldest row', () => rows.list.toStart()),
      once(['Enter'], 'Only the run of this row', () => commands.openRun()),
      once(['1'], 'A level on or off', () => commands.toggleLevelAt(0)),
      ...Array.from({ length: 8 }, (_, index) => once([String(index + 2)], '', () => commands.toggleLevelAt(index + 1))),
      once(['0'], 'All levels', () => commands.allLevels()),
      once(['y'], 'Copy the link to this row', () => { commands.copyLink() }),
      once(['c'], 'Copy the rows', () => { commands.copyRows() }),
      once(['d'], 'Download the rows', () => commands.download('log')),
      once(['D'], 'Download them as JSON', () => commands.download('jsonl')),
      once(['u'], 'Local time or UTC', () => commands.utc()),
      once(['w'], 'Wrap lines or not', () => settings.toggle('wrap')),
      once(['t'], 'Colours: the system\'s, light, dark', () => commands.theme()),
      once(['?'], 'This overview', help)
    ],
    actions: [
      { id: 'utc', label: 'UTC', icon: 'M8 2.5a5.5 5.5 0 1 0 0 11 5.5 5.5 0 1 0 0-11M8 5v3l2 1.5', run: () => commands.utc() },
      { id: 'wrap', label: 'Wrap lines', icon: 'M2.5 4h11M2.5 8h8.5a2 2 0 0 1 0 4H8m1.5-1.5L8 12l1.500 1.500M2.5 12H5', run: () => settings.toggle('wrap') },
      { id: 'copy', label: 'Copy the rows', icon: 'M5.500 5.500h7v8h-7zM3.500 10.500v-8h7', run: () => { commands.copyRows() } },
      { id: 'download', label: 'Download the rows', icon: 'M8 2.500v7M5 7l3 3 3-3M3 13h10', run: () => commands.download('log') },
      { id: 'json', label: 'Download the rows as JSON', icon: 'M6 3.500c-3.500 0-.500 4-3 4.500 2.500.500-.500 4.500 3 4.500M10 3.500c3.500 0 .500 4 3 4.500-2.500.500.500 4.500-3 4.500', run: () => commands.download('jsonl') },
      { id: 'theme', label: 'Light or dark', icon: 'M12.500 9.700A5 5 0 0 1 6.300 3.500a5 5 0 1 0 6.200 6.200', run: () => commands.theme() },
      { id: 'keyboard', label: 'Keyboard', icon: 'M5.800 6a2.200 2.200 0 1 1 3.400 1.800c-.8.500-1.200.900-1.200 1.700M8 12v.3', run: help }
    ]
  }
}
