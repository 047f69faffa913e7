/**
 * @file Makes the tables of `shared/protocol/README.md` anew: `npm run protocol-page`, from the project's folder.
 */
import { readFileSync, writeFileSync } from 'node:fs'
import { renewedPage } from './page.js'

const PAGE = 'shared/protocol/README.md'

writeFileSync(PAGE, renewedPage(readFileSync(PAGE, 'utf8')))
