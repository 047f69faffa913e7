/**
 * @file The few ONNX messages that a model is made of, and their wire form.
 *
 * Field numbers and enum values are those of onnx.proto (https://github.com/onnx/onnx/blob/main/onnx/onnx.proto). They are written
 * with protobufjs's writer, which needs no generated code and no `eval`, so that pages with a content security policy can use it.
 */
import protobuf from 'protobufjs/minimal.js'
import type { WeightContent } from '../weights.js'

type Writer = protobuf.Writer

/** TensorProto.DataType. */
export const ElementType = { f32: 1, u8: 2, i32: 6, i64: 7, bool: 9 } as const
export type ElementType = keyof typeof ElementType

/** The number of a tensor's bytes are in the message itself, or in a file beside the model. */
export interface InitializerProto {
  readonly name: string
  readonly type: ElementType
  readonly dims: readonly number[]
  readonly content: WeightContent
}

export type AttributeProto =
  | { readonly float: number }
  | { readonly int: number }
  | { readonly ints: readonly number[] }
  | { readonly text: string }
  /** A tensor of one element. */
  | { readonly scalar: number }

export interface NodeProto {
  readonly opType: string
  /** '' is ai.onnx. */
  readonly domain: string
  /** '' where an optional input is absent. */
  readonly inputs: readonly string[]
  readonly outputs: readonly string[]
  readonly attributes: Readonly<Record<string, AttributeProto>>
}

/** An input or output; a text among `dims` names a size that each run chooses. */
export interface ValueInfoProto {
  readonly name: string
  readonly type: ElementType
  readonly dims: readonly (number | string)[]
}

export interface ModelProto {
  readonly name: string
  readonly irVersion: number
  /** Operator set version by domain. */
  readonly opsets: Readonly<Record<string, number>>
  readonly nodes: readonly NodeProto[]
  readonly initializers: readonly InitializerProto[]
  readonly inputs: readonly ValueInfoProto[]
  readonly outputs: readonly ValueInfoProto[]
}

/** The bytes of an .onnx file. */
export function encodeModel(model: ModelProto): Uint8Array {
  const writer = protobuf.Writer.create()
  int(writer, 1, model.irVersion)
  text(writer, 2, 'cutlayer')
  nested(writer, 7, () => {
    for (const node of model.nodes) nested(writer, 1, () => encodeNode(writer, node))
    text(writer, 2, model.name)
    for (const tensor of model.initializers) nested(writer, 5, () => encodeInitializer(writer, tensor))
    for (const value of model.inputs) nested(writer, 11, () => encodeValueInfo(writer, value))
    for (const value of model.outputs) nested(writer, 12, () => encodeValueInfo(writer, value))
  })
  for (const [domain, version] of Object.entries(model.opsets))
    nested(writer, 8, () => {
      text(writer, 1, domain)
      int(writer, 2, version)
    })
  // A writer may hand out part of a pooled buffer; what is moved to another thread must own its bytes.
  const bytes = writer.finish()
  return bytes.byteLength === bytes.buffer.byteLength ? bytes : new Uint8Array(bytes)
}

function encodeNode(writer: Writer, node: NodeProto): void {
  for (const input of node.inputs) text(writer, 1, input)
  for (const output of node.outputs) text(writer, 2, output)
  text(writer, 4, node.opType)
  for (const [name, attribute] of Object.entries(node.attributes)) nested(writer, 5, () => encodeAttribute(writer, name, attribute))
  text(writer, 7, node.domain)
}

function encodeAttribute(writer: Writer, name: string, attribute: AttributeProto): void {
  text(writer, 1, name)
  const typeField = 20
  if ('float' in attribute) {
    writer.uint32(key(2, FIXED32)).float(attribute.float)
    int(writer, typeField, 1)
  } else if ('int' in attribute) {
    int(writer, 3, attribute.int)
    int(writer, typeField, 2)
  } else if ('text' in attribute) {
    text(writer, 4, attribute.text)
    int(writer, typeField, 3)
  } else if ('scalar' in attribute) {
    const raw = new Uint8Array(Float32Array.of(attribute.scalar).buffer)
    nested(writer, 5, () => encodeInitializer(writer, { name: '', type: 'f32', dims: [1], content: { raw } }))
    int(writer, typeField, 4)
  } else {
    for (const value of attribute.ints) int(writer, 8, value)
    int(writer, typeField, 7)
  }
}

function encodeInitializer(writer: Writer, { name, type, dims, content }: InitializerProto): void {
  for (const dim of dims) int(writer, 1, dim)
  int(writer, 2, ElementType[type])
  text(writer, 8, name)
  if ('raw' in content) {
    writer.uint32(key(9, BYTES)).bytes(content.raw)
    return
  }
  const entries = { location: content.file, offset: `${content.offset}`, length: `${content.bytes}` }
  for (const [entry, value] of Object.entries(entries))
    nested(writer, 13, () => {
      text(writer, 1, entry)
      text(writer, 2, value)
    })
  const external = 1
  int(writer, 14, external)
}

function encodeValueInfo(writer: Writer, { name, type, dims }: ValueInfoProto): void {
  text(writer, 1, name)
  nested(writer, 2, () =>
    nested(writer, 1, () => {
      int(writer, 1, ElementType[type])
      nested(writer, 2, () => {
        for (const dim of dims)
          nested(writer, 1, () => {
            if (typeof dim === 'number') int(writer, 1, dim)
            else text(writer, 2, dim)
          })
      })
    }),
  )
}

const VARINT = 0
const BYTES = 2
const FIXED32 = 5

function key(field: number, wireType: number): number {
  return (field << 3) | wireType
}

function int(writer: Writer, field: number, value: number): void {
  writer.uint32(key(field, VARINT)).int64(value)
}

function text(writer: Writer, field: number, value: string): void {
  writer.uint32(key(field, BYTES)).string(value)
}

function nested(writer: Writer, field: number, write: () => void): void {
  writer.uint32(key(field, BYTES)).fork()
  write()
  writer.ldelim()
}
