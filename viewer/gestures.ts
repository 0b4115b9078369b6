/** Pixels that a finger may tremble. */
const TREMBLE = 4

/**
 * Tells at once who wants to go up or down: a smooth scroll begins with a few pixels, and the next row would pull it back.
 * What zooms, or goes sideways, is none.
 */
export function watchGestures (element: HTMLElement, onup: () => void, ondown: () => void): void {
  element.addEventListener('wheel', ({ deltaX, deltaY, ctrlKey, shiftKey }) => {
    if (ctrlKey || shiftKey || Math.abs(deltaX) > Math.abs(deltaY)) return
    if (deltaY < 0) onup()
    else if (deltaY > 0) ondown()
  }, { passive: true })
  let start: Touch | null = null
  element.addEventListener('touchstart', ({ touches }) => { start = touches.length === 1 ? touches[0]! : null }, { passive: true })
  element.addEventListener('touchmove', ({ touches }) => {
    if (start === null || touches.length > 1) return
    const { clientX, clientY } = touches[0]!
    const down = clientY - start.clientY
    if (down > TREMBLE && down > Math.abs(clientX - start.clientX)) onup()
  }, { passive: true })
}
