/** What ECMA-48 begins with ESC: control sequences such as colours, strings such as titles and links, which end with BEL or ESC \, and the short ones. */
// eslint-disable-next-line no-control-regex
const SEQUENCES = /\u001b(?:\[[0-?]*[ -/]*[@-~]|[\]PX^_][^\u0007\u001b]*(?:\u0007|\u001b\\)|[ -/]*[0-OQ-WYZ\\`-~])/g

/** The text without what only a terminal understands. What is no whole sequence stays. */
export function plain (text: string): string {
  return text.includes('\u001b') ? text.replace(SEQUENCES, '') : text
}
