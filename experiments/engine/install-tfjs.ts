/**
 * @file Installs @tensorflow/tfjs-node-gpu with a TensorFlow from PyPI: its own install script asks a host that often does not answer.
 *
 * The package comes by npm without its scripts, the library from a wheel, and the package's binding, two files of C++, is compiled against both.
 */
import { existsSync } from 'node:fs'
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { tensorsOf } from '../../shared/backend/backend.js'
import { NATIVE_VERSION } from '../../shared/backend/tfjs/kinds.node.js'
import { tfjsBackend } from '../../shared/backend/tfjs/tfjs.node.js'
import { NATIVE_PACKAGE } from '../../shared/backend/tfjs/worker-setup.js'
import { memoryWeights } from '../../shared/backend/weights.js'
import { UserError } from '../../shared/errors.js'
import { newGraph } from '../../shared/graph/ops/index.js'
import { writeNewFolder } from '../../shared/model/new-folder.node.js'
import { f32 } from '../../shared/tensor.js'
import { runProgram } from './run-program.js'
import { takeWheel, type Wheel } from './tensorflow-wheel.js'

/** Node's own headers are not everywhere; these are those of its stable interface. */
const HEADERS = { name: 'node-api-headers', version: '1.9.0' }
/** Of that interface; every Node that cutlayer runs on has it. */
const NODE_API = 8

/**
 * @param folder does not exist, or is empty
 * @param onStep is told what is done, before it is
 * @returns the file from which the package resolves
 * @throws UserError ENGINE_UNAVAILABLE if this machine lacks something, or a step fails; nothing of it stays
 */
export async function installTfjs(folder: string, wheel: Wheel, onStep: (step: string) => void): Promise<string> {
  await expectMachine()
  await writeNewFolder(folder, async (temporary) => {
    const description = { name: 'cutlayer-engine-tfjs', version: NATIVE_VERSION, private: true }
    await writeFile(join(temporary, 'package.json'), `${JSON.stringify(description, null, 2)}\n`)
    onStep(`fetching ${NATIVE_PACKAGE} ${NATIVE_VERSION}`)
    const packages = [`${NATIVE_PACKAGE}@${NATIVE_VERSION}`, `${HEADERS.name}@${HEADERS.version}`]
    // With its scripts it would download; and this folder alone is meant, wherever the command was started.
    const npm = ['install', '--ignore-scripts', '--no-audit', '--no-fund', '--silent', '--prefix', temporary]
    await runProgram('npm', [...npm, ...packages], { cwd: temporary, needs: 'npm' })
    const home = join(temporary, 'node_modules', ...NATIVE_PACKAGE.split('/'))
    onStep(`fetching ${wheel.name} (${wheel.megabytes} MB)`)
    await takeWheel(wheel, join(home, 'deps'))
    onStep('compiling its binding')
    await compileBinding(home, join(temporary, 'node_modules', HEADERS.name, 'include'))
    onStep('running a small program')
    await tryIt(join(temporary, 'package.json'))
  })
  return join(folder, 'package.json')
}

async function expectMachine(): Promise<void> {
  const system = `${process.platform} ${process.arch}`
  if (system !== 'linux x64') throw notHere(`TensorFlow's library is taken from wheels for Linux on x64, and this is ${system}`)
  if (!existsSync('/lib64/ld-linux-x86-64.so.2')) throw notHere('those wheels need glibc, and this system has another C library')
  if (!/^flags\s*:.*\bavx\b/m.test(await readFile('/proc/cpuinfo', 'utf8').catch(() => 'flags: avx')))
    throw notHere('TensorFlow needs a processor with AVX')
}

function notHere(why: string): UserError {
  return new UserError({
    code: 'ENGINE_UNAVAILABLE',
    what: 'the native TensorFlow.js cannot be installed here',
    why,
    fix: 'nothing need be done: the engine tfjs computes with WASM, and onnx is faster',
  })
}

/** As the package's binding.gyp has it for Linux. */
async function compileBinding(home: string, headers: string): Promise<void> {
  const [deps, output] = [join(home, 'deps'), join(home, 'lib', `napi-v${NODE_API}`)]
  await mkdir(output, { recursive: true })
  const sources = (await readdir(join(home, 'binding'))).filter((file) => file.endsWith('.cc')).map((file) => join(home, 'binding', file))
  const flags = [
    ...['-std=c++17', '-O2', '-fPIC', '-shared', '-w', `-DNAPI_VERSION=${NODE_API}`, '-DNODE_GYP_MODULE_NAME=tfjs_binding'],
    ...[`-I${headers}`, `-I${join(deps, 'include')}`, `-L${join(deps, 'lib')}`],
  ]
  const libraries = ['-ltensorflow', '-ltensorflow_framework', '-Wl,-rpath,$ORIGIN/../../deps/lib']
  const compiler = process.env['CXX'] || 'g++'
  await runProgram(compiler, [...flags, ...sources, '-o', join(output, 'tfjs_binding.node'), ...libraries], {
    cwd: home,
    needs: 'a C++ compiler (g++; CXX names another)',
  })
}

/** [1, 2] [[3], [4]] = [11]. */
async function tryIt(from: string): Promise<void> {
  const backend = tfjsBackend({ threads: 1, lanes: 1, found: { kind: 'native', from } })
  try {
    const builder = newGraph()
    builder.output('y', builder.input('x', 'f32', ['rows', 2]).gemm(builder.input('w', 'f32', [2, 1])))
    const program = await backend.compile(builder.finish(), memoryWeights(new Map(), 'install'), { name: 'install' })
    const [y] = tensorsOf(await program.run({ x: f32([1, 2], [1, 2]), w: f32([2, 1], [3, 4]) }), ['y'])
    if (y!.data[0] !== 11) throw notHere(`it was installed, and says that 1 * 3 + 2 * 4 is ${y!.data[0]}`)
  } finally {
    await backend.dispose()
  }
}
