// The manifest and the interface between the loader's parts, for the type checker. Not shipped: hither.d.ts is the public half.
export type { LoadOptions, RunOptions, Tensor } from "./hither.js";

export interface Spec {
  name: string; shape: number[]; dtype: string; media?: "image" | "audio"; layout?: "NCHW" | "NHWC";
  scale?: number | number[]; mean?: number | number[]; std?: number | number[]; rate?: number; labels?: string[]; classes?: number; ignored?: number;
}
export interface Signature { inputs: Spec[]; outputs: Spec[]; updates_state: boolean }
export interface Variant { name: string; entries: Record<string, Signature> }
export interface Segment { file: string; offset: number; start: number; bytes: number; sha256: string; half?: true }
export interface TensorRecord { name: string; dtype: string; shape: number[]; offset: number }
export type Placement = [tensor: number, space: string, offset: number, dtype: string];
export interface Layout { weights: number; state: number; placements: Placement[] }
export interface Place { offset: number; dtype: string; lengths?: { axis: number; output: number }[] }
export interface Plan { inputs: Place[]; outputs: Place[]; call: string; rehearsable?: boolean; work?: number; steps: Step[] }
export type Binding = [buffer: number, offset: number, bytes: number];
export interface Step {
  run?: number; groups: [number, number, number]; bind: Binding[];
  if?: Binding; then?: Step[]; else?: Step[];
  while?: Binding; do?: Step[]; bound: number | null;
}
export interface Build {
  target: "wasm" | "webgpu"; precision?: string; requires: string[]; layout: number; init?: Plan; variants: Record<string, Plan>[];
  file: string; bytes: number; sha256: string; arena: number; io: number;
  shared_flag_offset: number; scratch: number; sync: number;
  limits: Record<string, number>; buffers: [space: string, offset: number, bytes: number][]; pipelines: string[]; subgroups?: Record<string, number>; packed_dot?: Record<string, number>;
}
export interface Manifest {
  format: string; version: number; digest: string; extensions_required: string[]; name: string;
  precision: string; accuracy?: import("./hither.js").Accuracy; precisions?: { name: string; accuracy?: import("./hither.js").Accuracy }[];
  default_entry: string; variants: Variant[]; layouts: Layout[]; builds: Build[];
  frozen?: { tensor: number; sha256: string }[];
  weights: { bytes: number; tensors: TensorRecord[]; segments: Segment[]; refinement?: Segment[] };
}

/** What a program's state is outside it (hither-state.js). `at` and `stored` are offset and dtype in the state region. */
export interface Stateful {
  manifest: Manifest; store: import("./hither-store.js").Store; places: (TensorRecord & { at: number; stored: string })[];
  read(): Promise<Uint8Array>;
  write(pieces: Piece[]): Promise<unknown>;
}

/** Bytes to write or read in the io region. */
export interface Range { offset: number; bytes: number }
/** `shared`: WebAssembly's memory and where its regions begin, if other threads may write there. */
export interface BackendInfo { shared?: false | { bytes: Uint8Array; at: Record<string, number> }; build: number; device: string; why: string; threads: number; adapter: string; bytes: Record<string, number>; subgroups?: boolean; packedDot?: boolean }
export interface BackendEvent { pipelines?: [ready: number, total: number]; lost?: string }
export interface Placed { offset: number; bytes: Uint8Array }
/** `lent`: the inputs' memory, where a Worker took it. */
export interface Ran { outputs: Uint8Array[]; dispatches: number; roundTrips: number; lent?: Placed[] }
export interface CreateOptions { builds: Build[]; layouts: Layout[]; snapshot: boolean; threads?: number; gpu?: GPUDevice; auto: boolean }
/** What a build of a target takes on its device; each backend exports one as `room`. The rest of what it finds is the backend's own. */
export type Room = (build: Build, options: { layouts: Layout[]; snapshot: boolean; threads?: number }) => any; // or a promise: { bytes } as in BackendInfo, …

/** What runs kernels: hither-wasm.js and hither-webgpu.js, or either of them behind hither-worker.js. */
export interface Backend {
  info: BackendInfo;
  /** Take the kernels and start compiling those of one variant. An entry to rehearse is then run on zeros: an engine optimises
   * what has run, and while the weights come there is time for it. */
  prepare(kernels: Uint8Array, variant: number, rehearse: string): Promise<void>;
  /** Resolves when those of a variant are compiled. */
  ready(variant: number): Promise<void>;
  /** Store pieces, before, while or after kernels are prepared; a Worker takes the memory lent rather than copies, and gives it back. */
  place(pieces: Piece[], lent: ArrayBufferLike[]): Promise<ArrayBufferLike[]>;
  /** Add lower halves, signed 16-bit numbers, to the words of the weights at these offsets. */
  refine(pieces: Piece[]): Promise<void>;
  /** Variant -1 is the build's `init`. */
  run(variant: number, entry: string, inputs: Placed[], outputs: Range[], snapshot: boolean): Promise<Ran>;
  /** Put the state back as it was before the last run with `snapshot`. */
  rollback(): Promise<void>;
  read(space: string, offset: number, bytes: number): Promise<Uint8Array>;
  close(): void;
}
/** A part of the blob that lies in one place: whose, where and as what on the device, and from where to where it goes there. */
export interface Part { tensor: TensorRecord; space: string; dtype: string; at: number; from: number; to: number }
export type Piece = [space: string, offset: number, bytes: Uint8Array];
export type Emit = (event: BackendEvent) => void;
