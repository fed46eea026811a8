/** The newest runtime that was seen live, 2026-09-01. */
export const RUNTIME_VERSION = '0.0.1-rc48'
