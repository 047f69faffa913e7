/**
 * @file TensorFlow's library and C headers, out of a wheel from PyPI.
 *
 * Since 2.12 a wheel's libtensorflow_cc exports the whole C API that TensorFlow.js uses, and does not need Python to run.
 */
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { runProgram } from './run-program.js'

export interface Wheel {
  /** On PyPI. */
  readonly name: string
  readonly sha256: string
  readonly megabytes: number
}

export const TENSORFLOW_VERSION = '2.15.1'

/** Of that version, for CPython 3.11, manylinux 2.17 and x86_64; which Python it is for makes no difference to the library. */
export const WHEELS: Readonly<Record<'cpu' | 'cuda', Wheel>> = {
  cpu: { name: 'tensorflow-cpu', sha256: '54660c074d7241a503e81edfd9f5ef5af88f64051b72e2945f26318c790f2d26', megabytes: 207 },
  cuda: { name: 'tensorflow', sha256: 'bb0edd69103c154245c5f209f0507355cc68ba7e4de350084bc31edc562478e4', megabytes: 475 },
}

const PLATFORM = ['--implementation', 'cp', '--python-version', '3.11', '--abi', 'cp311', '--platform', 'manylinux_2_17_x86_64']

/**
 * Puts `lib` and `include` into a folder, under the names by which the binding is linked.
 * @param folder is made
 * @throws UserError ENGINE_UNAVAILABLE if pip is missing, or the wheel cannot be had or is not the one that was meant
 */
export async function takeWheel({ name, sha256 }: Wheel, folder: string): Promise<void> {
  // The system's place for such files: a wheel is as large as what is taken out of it.
  const scratch = await mkdtemp(join(process.env['TMPDIR'] ?? tmpdir(), 'cutlayer-wheel-'))
  try {
    const requirements = join(scratch, 'requirements.txt')
    await writeFile(requirements, `${name}==${TENSORFLOW_VERSION} --hash=sha256:${sha256}\n`)
    const pip = ['-m', 'pip', 'download', '--quiet', '--disable-pip-version-check', '--no-cache-dir', '--no-deps', '--only-binary=:all:']
    await runProgram('python3', [...pip, '--require-hashes', ...PLATFORM, '--dest', scratch, '--requirement', requirements], {
      cwd: scratch,
      needs: 'python3 with pip',
    })
    await runProgram('python3', ['-c', UNPACK, scratch, folder], { cwd: scratch, needs: 'python3' })
  } finally {
    await rm(scratch, { recursive: true, force: true })
  }
}

/** Of the wheel in a folder: the two libraries, and the headers that are reached from the C API. */
const UNPACK = `
import glob, os, re, shutil, sys, zipfile
scratch, target = sys.argv[1:]
header = re.compile(r'tensorflow/include/((?:tensorflow/c|tsl/c)/.*\\.h|(?:tensorflow/core|tsl)/platform/ctstring\\w*\\.h)$')
libraries = ('libtensorflow_cc.so.2', 'libtensorflow_framework.so.2')
wheel, = glob.glob(os.path.join(glob.escape(scratch), '*.whl'))
with zipfile.ZipFile(wheel) as archive:
    for name in archive.namelist():
        found = header.match(name)
        if found: place = os.path.join(target, 'include', found[1])
        elif name in ['tensorflow/' + library for library in libraries]: place = os.path.join(target, 'lib', os.path.basename(name))
        else: continue
        os.makedirs(os.path.dirname(place), exist_ok=True)
        with archive.open(name) as source, open(place, 'wb') as copy: shutil.copyfileobj(source, copy, 1 << 20)
for link, library in zip(('libtensorflow.so', 'libtensorflow_framework.so'), libraries):
    os.symlink(library, os.path.join(target, 'lib', link))
`
