/**
 * Asks until the answer is right, by default: until it is yes. That it never is, the time-out of the test tells.
 * Resolves with that answer.
 */
export async function eventually<T> (ask: () => T | PromiseLike<T>, right: (answer: T) => boolean = Boolean): Promise<T> {
  for (;;) {
    const answer = await ask()
    if (right(answer)) return answer
    // A pause: the browser and PostgreSQL need the core.
    await new Promise((resolve) => setTimeout(resolve, 5))
  }
}
