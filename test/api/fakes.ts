import type { News, NewsItem } from '../../api/news.ts'

/** News that a test tells by hand. */
export function fakeNews(): News & { tell(kind: string, item: NewsItem): void; gap(): void; hears: boolean } {
  const handlers = new Set<{ kind: string; handler(item: NewsItem): void }>()
  const gaps = new Set<() => void>()
  return {
    hears: true,
    listening() {
      return this.hears
    },
    on(kind, handler) {
      const one = { kind, handler }
      handlers.add(one)
      return () => handlers.delete(one)
    },
    onGap(handler) {
      gaps.add(handler)
      return () => gaps.delete(handler)
    },
    tell(kind, item) {
      for (const one of handlers) if (one.kind === kind) one.handler(item)
    },
    gap() {
      for (const handler of gaps) handler()
    },
  }
}
