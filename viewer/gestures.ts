/** Pixels that a finger or a hand may tremble. */
export const TREMBLE = 4

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
  // As numbers: Safari changes its Touch while the finger moves.
  let startX = 0
  let startY = 0
  element.addEventListener('touchstart', ({ touches }) => {
    startX = touches[0]!.clientX
    startY = touches[0]!.clientY
  }, { passive: true })
  element.addEventListener('touchmove', ({ touches }) => {
    const down = touches[0]!.clientY - startY
    if (touches.length === 1 && down > TREMBLE && down > Math.abs(touches[0]!.clientX - startX)) onup()
  }, { passive: true })
}
