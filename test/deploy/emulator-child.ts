/** An emulator in a process of its own, to be killed: `node emulator-child.ts <data dir> <token>`. Prints its URL. */
import { startEmulator } from '../../deploy/local/emulator/start.ts'

const [dataDir = '', token = ''] = process.argv.slice(2)
const { url } = await startEmulator({ dataDir, token })
console.log(url)
