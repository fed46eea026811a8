import { type DestinationStream, type Logger, pino } from 'pino'
import pretty from 'pino-pretty'
import type { Config } from './config.ts'

/** `level` as a word and the text as `message`: hosted log viewers do not read pino's numbers. */
export function createLog(config: Pick<Config, 'logLevel' | 'logPretty'>, to?: DestinationStream): Logger {
  const wanted = config.logPretty === 'auto' ? process.stdout.isTTY === true : config.logPretty
  const stream =
    to ?? (wanted ? pretty({ messageKey: 'message', ignore: 'pid,hostname' }) : pino.destination(1))
  return pino(
    {
      level: config.logLevel,
      messageKey: 'message',
      base: null,
      formatters: { level: (label) => ({ level: label }) },
      redact: {
        paths: [
          'authorization',
          '*.authorization',
          'token',
          '*.token',
          'apiKey',
          '*.apiKey',
          'instructions',
          '*.instructions',
          'headers.cookie',
          '*.headers.cookie',
        ],
        censor: '…',
      },
    },
    stream,
  )
}
