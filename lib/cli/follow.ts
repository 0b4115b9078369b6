/** What `tail` was asked for, whichever way the rows come. */
export interface Follow {
  run: string | null
  /** None: all. */
  levels: string[]
  since: Date | null
  /** The last so many rows first; with `since` all of them. */
  count: number
  /** Goes on, rather than ends with what is there. */
  forever: boolean
}
