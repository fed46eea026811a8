// Bodies and answers, with the original's limits and errors.
const BODY_LIMIT = 1_048_576

export function answer(response, status, body) {
  response.writeHead(status, { 'content-type': 'application/json' })
  response.end(JSON.stringify(body))
}

/** What a handler throws to end with this status. */
export class Refusal extends Error {
  constructor(status, message) {
    super(message)
    this.status = status
  }
}

/** A JSON object; an empty body is an empty one. Too large and unreadable are both 500 there, so here too. */
export async function readBody(request) {
  const chunks = []
  let size = 0
  for await (const chunk of request) {
    size += chunk.length
    if (size <= BODY_LIMIT) chunks.push(chunk) // the rest is read all the same, so that the answer arrives
  }
  if (size > BODY_LIMIT) throw new Refusal(500, 'Request body too large')
  const text = Buffer.concat(chunks).toString('utf8')
  const body = text.trim() === '' ? {} : JSON.parse(text)
  return typeof body === 'object' && body !== null ? body : {}
}

/** A field of the wrong type is as good as absent. */
export const text = (value) => (typeof value === 'string' ? value : undefined)
