type Child = Node | string

/** An element. What comes from a row is text here, whatever it holds: nothing is ever parsed as HTML. */
export function h<K extends keyof HTMLElementTagNameMap> (name: K, attributes: Record<string, string | boolean> = {}, ...children: Child[]): HTMLElementTagNameMap[K] {
  const element = document.createElement(name)
  for (const [key, value] of Object.entries(attributes)) {
    if (value !== false) element.setAttribute(key, value === true ? '' : value)
  }
  element.append(...children)
  return element
}

const SVG = 'http://www.w3.org/2000/svg'

/** Lines on a square of 16. */
export function icon (path: string): SVGElement {
  const svg = document.createElementNS(SVG, 'svg')
  svg.setAttribute('viewBox', '0 0 16 16')
  svg.setAttribute('aria-hidden', 'true')
  const line = document.createElementNS(SVG, 'path')
  line.setAttribute('d', path)
  svg.append(line)
  return svg
}

export function setText (element: Element, text: string): void {
  if (element.textContent !== text) element.textContent = text
}
