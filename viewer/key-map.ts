import type { Key } from './keys.ts'
import type { Viewer } from './viewer.ts'

export interface Action { id: string, label: string, icon: string, run: () => void }

/** Which key does what, and which button. */
export function keysOf (viewer: Viewer): { keys: Key[], actions: Action[] } {
  const theme = () => viewer.say(`Colours: ${viewer.settings.nextTheme()}`)
  const utc = () => {
    viewer.settings.toggle('utc')
    viewer.say(viewer.settings.utc ? 'Times are UTC' : 'Times are local')
  }
  const wrap = () => viewer.settings.toggle('wrap')
  const key = (keys: string[], text: string, run: () => void): Key => ({ keys, text, run })
  return {
    keys: [
      key(['/'], 'Find', () => viewer.focusFind()),
      key(['n'], 'Next match', () => viewer.step(1)),
      key(['N'], 'Previous match', () => viewer.step(-1)),
      key(['j', 'ArrowDown'], 'Next row', () => viewer.move(1)),
      key(['k', 'ArrowUp'], 'Previous row', () => viewer.move(-1)),
      key(['e'], 'Next error', () => viewer.moveToError(1)),
      key(['E'], 'Previous error', () => viewer.moveToError(-1)),
      key(['G', 'End'], 'Newest rows, and follow them', () => viewer.newest()),
      key(['g', 'Home'], 'Oldest row', () => viewer.oldest()),
      key(['1'], 'A level on or off', () => viewer.toggleLevelAt(0)),
      ...Array.from({ length: 8 }, (_, index) => key([String(index + 2)], '', () => viewer.toggleLevelAt(index + 1))),
      key(['0'], 'All levels', () => viewer.allLevels()),
      key(['y'], 'Copy the link to this row', () => viewer.copyLink()),
      key(['c'], 'Copy the rows', () => viewer.copyRows()),
      key(['d'], 'Download the rows', () => viewer.download('log')),
      key(['D'], 'Download them as JSON', () => viewer.download('jsonl')),
      key(['u'], 'Local time or UTC', utc),
      key(['w'], 'Wrap lines or not', wrap),
      key(['t'], 'Colours: the system\'s, light, dark', theme),
      key(['?'], 'This overview', () => viewer.help())
    ],
    actions: [
      { id: 'utc', label: 'UTC', icon: 'M8 2.5a5.5 5.5 0 1 0 0 11 5.5 5.5 0 1 0 0-11M8 5v3l2 1.5', run: utc },
      { id: 'wrap', label: 'Wrap lines', icon: 'M2.5 4h11M2.5 8h8.5a2 2 0 0 1 0 4H8m1.5-1.5L8 12l1.500 1.500M2.5 12H5', run: wrap },
      { id: 'copy', label: 'Copy the rows', icon: 'M5.500 5.500h7v8h-7zM3.500 10.500v-8h7', run: () => { viewer.copyRows() } },
      { id: 'download', label: 'Download the rows', icon: 'M8 2.500v7M5 7l3 3 3-3M3 13h10', run: () => viewer.download('log') },
      { id: 'theme', label: 'Light or dark', icon: 'M12.500 9.700A5 5 0 0 1 6.300 3.500a5 5 0 1 0 6.200 6.200', run: theme },
      { id: 'keyboard', label: 'Keyboard', icon: 'M5.800 6a2.200 2.200 0 1 1 3.400 1.800c-.8.500-1.200.900-1.200 1.700M8 12v.3', run: () => viewer.help() }
    ]
  }
}
