import { createListener, type ListenerOptions, type News } from './notify.ts'

/** One LISTEN for a whole process, told on by kind. */
export interface NewsHub {
  /** Would news reach us? False: poll. */
  listening(): boolean
  /** Returns the end of it. */
  on(kind: string, handler: (news: News) => void): () => void
  /** News may have been missed: look at everything. */
  onGap(handler: () => void): () => void
  close(): Promise<void>
}

export function createNewsHub(options: Omit<ListenerOptions, 'onNews' | 'onGap'>): NewsHub {
  const handlers = new Map<string, Set<(news: News) => void>>()
  const gaps = new Set<() => void>()
  const listener = createListener({
    ...options,
    onNews: (news) => {
      for (const handler of handlers.get(news.kind) ?? []) handler(news)
    },
    onGap: () => {
      for (const handler of gaps) handler()
    },
  })
  return {
    listening: listener.listening,
    on(kind, handler) {
      const known = handlers.get(kind) ?? new Set()
      handlers.set(kind, known.add(handler))
      return () => known.delete(handler)
    },
    onGap(handler) {
      gaps.add(handler)
      return () => gaps.delete(handler)
    },
    close: listener.close,
  }
}
