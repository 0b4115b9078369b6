/** As a reader wants it: three digits. */
export function number (value: number): string {
  return value.toLocaleString('en', { maximumSignificantDigits: 3 })
}
