// Makes dist/entry.js, and the command-line tool that an install of the extension would have brought.
import { cp, mkdir, readFile } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'

const json = async (path) => JSON.parse(await readFile(path, 'utf8'))

const settings = await json('standin.json')
const extension = await json('extensions/convos/package.json')
for (const kind of ['dependencies', 'devDependencies', 'peerDependencies']) {
  const version = extension[kind]?.openclaw
  // The real install cannot resolve these, so neither does this one.
  if (version !== undefined && version !== '*') {
    console.error(`No matching version found for openclaw@${version} while building extensions/convos`)
    process.exit(1)
  }
}
await sleep(settings.buildMs)
if (settings.failBuild) {
  console.error('src/entry.ts(1,1): error TS2304: Cannot find name "standin".')
  process.exit(2)
}

await mkdir('dist', { recursive: true })
await cp('src', 'dist', { recursive: true })
const cli = 'extensions/convos/node_modules/@convos/cli'
await mkdir(`${cli}/bin`, { recursive: true })
await cp('extensions/convos/cli.js', `${cli}/bin/run.js`)
await cp('package.json', `${cli}/package.json`) // says that run.js is a module
console.log('built dist/entry.js')
