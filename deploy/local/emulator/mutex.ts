/** Runs what it is given for one key one after the other, in the order of the calls; keys do not wait for each other. */
export type KeyedMutex = <T>(key: string, run: () => Promise<T>) => Promise<T>

export function createKeyedMutex(): KeyedMutex {
  const tails = new Map<string, Promise<unknown>>()
  return (key, run) => {
    const result = (tails.get(key) ?? Promise.resolve()).then(run)
    const tail = result
      .catch(() => {}) // a failure is its caller's alone
      .then(() => {
        if (tails.get(key) === tail) tails.delete(key)
      })
    tails.set(key, tail)
    return result
  }
}
