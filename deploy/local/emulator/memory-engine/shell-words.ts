/** One simple command of a script, and what joins it to the one before. */
export interface Command {
  join: ';' | '&&' | '||'
  words: string[]
  /** Where stdout and stderr go: a stream of the caller, or a file. */
  stdout: 1 | 2 | { file: string }
  stderr: 1 | 2 | { file: string }
}

type Token = { kind: 'word'; text: string } | { kind: 'operator'; text: string }

/**
 * The little of sh that a pool's commands and tests use: words with quotes and variables, `;`, `&&`, `||`, and
 * redirections of output. Everything else of the language is refused by the commands that then do not exist.
 */
export function parseScript(text: string, variable: (name: string) => string): Command[] {
  const commands: Command[] = []
  let join: Command['join'] = ';'
  let command = emptyCommand(join)
  const finish = () => {
    if (command.words.length > 0) commands.push(command)
    command = emptyCommand(join)
  }
  const tokens = tokensOf(text, variable)
  for (let at = 0; at < tokens.length; at++) {
    const token = tokens[at]
    if (token === undefined) break
    if (token.kind === 'word') {
      command.words.push(token.text)
      continue
    }
    if (token.text === '>&2' || token.text === '1>&2') command.stdout = 2
    else if (token.text === '2>&1') command.stderr = command.stdout
    else if (/^[12]?>>?$/.test(token.text) || token.text === '<') {
      const file = tokens[++at]?.text ?? ''
      if (token.text === '<') continue
      command[token.text.startsWith('2') ? 'stderr' : 'stdout'] = { file }
    } else {
      join = token.text === '&&' || token.text === '||' ? token.text : ';'
      finish()
    }
  }
  finish()
  return commands
}

const emptyCommand = (join: Command['join']): Command => ({ join, words: [], stdout: 1, stderr: 2 })

const OPERATOR = /^(?:[12]?>&[12]|[12]?>>?|<|&&|\|\||[;\n&|])/
const VARIABLE = /^\$(?:\{([A-Za-z_0-9]+)\}|([A-Za-z_][A-Za-z_0-9]*|[0-9]|\$))/

function tokensOf(text: string, variable: (name: string) => string): Token[] {
  const tokens: Token[] = []
  let word: string | null = null
  let rest = text
  const endWord = () => {
    if (word !== null) tokens.push({ kind: 'word', text: word })
    word = null
  }
  /** Takes one piece of a word off the front of `rest`. */
  function piece(quoted: boolean): string {
    const found = VARIABLE.exec(rest)
    if (found) {
      rest = rest.slice(found[0].length)
      return variable(found[1] ?? found[2] ?? '')
    }
    const length = rest.startsWith('\\') && (!quoted || /^\\["$\\`]/.test(rest)) ? 2 : 1
    const taken = rest.slice(length - 1, length)
    rest = rest.slice(length)
    return taken
  }
  while (rest !== '') {
    const operator = word === null || /^[<>&|;\n]/.test(rest) ? OPERATOR.exec(rest)?.[0] : undefined
    if (operator !== undefined) {
      endWord()
      tokens.push({ kind: 'operator', text: operator })
      rest = rest.slice(operator.length)
    } else if (/^[ \t]/.test(rest)) {
      endWord()
      rest = rest.slice(1)
    } else if (rest.startsWith('#') && word === null) {
      rest = rest.slice(Math.max(0, rest.search(/\n|$/)))
    } else if (rest.startsWith("'")) {
      const end = rest.indexOf("'", 1)
      word = (word ?? '') + rest.slice(1, end < 0 ? undefined : end)
      rest = end < 0 ? '' : rest.slice(end + 1)
    } else if (rest.startsWith('"')) {
      rest = rest.slice(1)
      word ??= ''
      while (rest !== '' && !rest.startsWith('"')) word += piece(true)
      rest = rest.slice(1)
    } else {
      word = (word ?? '') + piece(false)
    }
  }
  endWord()
  return tokens
}
