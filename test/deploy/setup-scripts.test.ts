import { execFileSync, spawnSync } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'

const folder = fileURLToPath(new URL('../../deploy/sprite/', import.meta.url))
const scripts = readdirSync(folder).filter((name) => name.endsWith('.sh'))
const hasShellcheck = spawnSync('shellcheck', ['--version']).status === 0

describe.each(scripts)('%s', (name) => {
  it('is bash', () => {
    expect(spawnSync('bash', ['-n', name], { cwd: folder, encoding: 'utf8' })).toMatchObject({
      status: 0,
      stderr: '',
    })
  })

  // Debian's package is `shellcheck`. A laptop may lack it; whatever sets CI may not.
  it.skipIf(!hasShellcheck && !process.env.CI)('satisfies shellcheck', () => {
    expect(execFileSync('shellcheck', [name], { cwd: folder, encoding: 'utf8' })).toBe('')
  })

  it('uses nothing that bash 3.2 lacks', () => {
    const source = readFileSync(`${folder}/${name}`, 'utf8')
    expect(source).not.toMatch(
      /declare -A|local -[An]|mapfile|readarray|wait -n|BASHPID|EPOCH|\$\{\w+(,,|\^\^|@)|&>>|\|&|printf '?%\(/,
    )
  })
})
