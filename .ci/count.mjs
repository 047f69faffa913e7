/**
 * @file Prints the closing line of .ci/run, and exits with 1 if anything failed.
 *
 * Arguments: vitest's JSON results, the exit status of the tests, and those of everything else that was done.
 */
import { existsSync, readFileSync } from 'node:fs'

const [resultsFile, testStatus, ...otherStatuses] = process.argv.slice(2)
const counts = { passed: 0, failed: 0 }
const count = (isPassed) => (isPassed ? counts.passed++ : counts.failed++)

for (const status of otherStatuses) count(status === '0')
const failedBefore = counts.failed
if (existsSync(resultsFile)) {
  for (const { status, assertionResults } of JSON.parse(readFileSync(resultsFile, 'utf8')).testResults) {
    const statusesOfTests = assertionResults.map((test) => test.status)
    for (const testResult of statusesOfTests) if (testResult === 'passed' || testResult === 'failed') count(testResult === 'passed')
    // A file that does not load, or whose hooks fail, has no failed test.
    if (status === 'failed' && !statusesOfTests.includes('failed')) count(false)
  }
}
// Whatever else stopped the tests: the build before them, an error outside all of them, a crash.
if (testStatus !== '0' && counts.failed === failedBefore) count(false)

console.log(`${counts.passed} passed, ${counts.failed} failed`)
process.exit(counts.failed === 0 ? 0 : 1)
