export interface NewsItem {
  pool?: string
  ids?: readonly string[]
}

/** What Postgres tells, as far as the API listens. A hint where to look, never what to believe. */
export interface News {
  /** False: news would not reach us, so whoever waits has to look by itself. */
  listening(): boolean
  /** The returned function ends it. */
  on(kind: string, handler: (item: NewsItem) => void): () => void
  /** News may have been missed: look at everything. The returned function ends it. */
  onGap(handler: () => void): () => void
}
