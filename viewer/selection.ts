import { TREMBLE } from './gestures.ts'

/** Tells who selects text in the element: it must not run away meanwhile. */
export function watchSelection (element: HTMLElement, onselect: () => void): void {
  /** Where the mouse was pressed. */
  let start: { x: number, y: number } | null = null
  let selects = false
  element.addEventListener('pointerdown', ({ button, pointerType, target, clientX, clientY }) => {
    // A finger scrolls, and the element itself is its bar.
    if (button === 0 && pointerType === 'mouse' && target !== element) start = { x: clientX, y: clientY }
  })
  document.addEventListener('pointermove', ({ buttons, clientX, clientY }) => {
    // It may have been let go where nobody tells.
    if (buttons !== 1) start = null
    if (start !== null && Math.hypot(clientX - start.x, clientY - start.y) > TREMBLE) onselect()
  })
  document.addEventListener('pointerup', () => { start = null })
  document.addEventListener('selectionchange', () => {
    const selection = getSelection()
    const before = selects
    selects = selection !== null && !selection.isCollapsed && element.contains(selection.anchorNode)
    // With the mouse down all the time: what is selected beyond the end scrolls there. Else once: who goes on with a selection may.
    if (selects && (!before || start !== null)) onselect()
  })
}

/** Those of the elements in which there is something selected, in the order given. */
export function selectedOf<E extends Element> (elements: Iterable<E>): E[] {
  const selection = getSelection()
  if (selection === null || selection.rangeCount === 0) return []
  const range = selection.getRangeAt(0)
  return [...elements].filter((element) => {
    if (!range.intersectsNode(element)) return false
    // A range also touches the element at whose first character it ends.
    const part = document.createRange()
    part.selectNodeContents(element)
    if (range.compareBoundaryPoints(Range.START_TO_START, part) > 0) part.setStart(range.startContainer, range.startOffset)
    if (range.compareBoundaryPoints(Range.END_TO_END, part) < 0) part.setEnd(range.endContainer, range.endOffset)
    return String(part) !== ''
  })
}
