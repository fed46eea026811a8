/** A shared run of this many characters counts as a leak; shorter ones occur by chance. */
const RUN = 8
/** A word shorter than this is no secret: hiding it would only blot the sentence. */
const SHORTEST = 4
/** Long enough for every sentence a provider was seen to send. */
const LONGEST = 200

/**
 * A sentence from outside, made fit for a message: no control characters, no query strings, at most 200
 * characters, and nothing that also occurs in `secrets` (tokens, keys, what a user wrote): an answer may
 * quote the request, also in part.
 */
export function scrub(text: string, secrets: readonly string[]): string {
  const sentence = text
    .slice(0, 4 * LONGEST)
    .replace(/[\u0000-\u001f\u007f-\u009f\u2028\u2029]+/g, ' ')
    .replace(/\?[^\s"'<>]+/g, '?…')
  const hidden = new Uint8Array(sentence.length)
  for (const secret of secrets) {
    if (secret.length < SHORTEST) continue
    const run = Math.min(RUN, secret.length)
    for (let start = 0; start + run <= sentence.length; start++)
      if (secret.includes(sentence.slice(start, start + run))) hidden.fill(1, start, start + run)
  }
  let clean = ''
  for (let at = 0; at < sentence.length; at++) {
    if (!hidden[at]) clean += sentence.charAt(at)
    else if (!hidden[at - 1]) clean += '…'
  }
  clean = clean.trim()
  return clean.length > LONGEST ? `${clean.slice(0, LONGEST - 1)}…` : clean
}

/** What a failed fetch or socket has to say in one word: a system's code, else the error's name. The message is
 *  left out, it may quote a URL or an answer. */
export function failureWord(error: unknown): string {
  for (let at: unknown = error, depth = 0; at instanceof Error && depth < 5; at = at.cause, depth++) {
    const code = 'code' in at ? at.code : undefined
    if (typeof code === 'string' && /^[A-Z0-9_]{1,40}$/.test(code)) return code
  }
  return error instanceof Error ? error.name : 'unknown failure'
}
