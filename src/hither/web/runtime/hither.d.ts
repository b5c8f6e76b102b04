/** The public interface of hither's loader. */

declare global { // what a project's libraries may lack: they need neither "esnext.disposable" nor @webgpu/types
  interface SymbolConstructor { readonly dispose: unique symbol }
  interface Disposable { [Symbol.dispose](): void }
  interface GPUDevice {}
}

export type TypedArray =
  | Int8Array | Uint8Array | Uint8ClampedArray | Int16Array | Uint16Array | Int32Array | Uint32Array
  | Float32Array | Float64Array | BigInt64Array | BigUint64Array;

/** A result. float16 is a Float16Array, or a Uint16Array of the bits where that is missing; int64 a BigInt64Array; bool a Uint8Array. */
export interface Tensor { data: any; shape: number[]; dtype: string }

/** A tensor given: a flat array (the shape is then the bundle's), or such data with its shape. */
export type TensorInput = TypedArray | number | bigint | boolean | readonly unknown[] | { data: TypedArray | ArrayLike<number>; shape: readonly number[] };

/** For inputs that the bundle marks as pictures or sounds. Pictures are stretched to the input's size; sounds resampled, mixed to mono, cut or padded. */
export type MediaInput = CanvasImageSource | ImageData | Blob | AudioBuffer;

export interface Progress {
  phase: "manifest" | "kernels" | "weights" | "pipelines" | "warmup" | "ready";
  bytesLoaded: number; bytesTotal: number; pipelinesReady: number; pipelinesTotal: number;
}

export interface LoadOptions {
  /** "auto" takes WebGPU where it works on real hardware, else WASM; `info.why` says why. */
  device?: "auto" | "wasm" | "webgpu";
  /** Of a bundle of several precisions, the one of this name ("float16", "int8/int8"). Without, the first that fits: what the adapter
   * has features and limits for, and, where the browser says how much memory the device has, what takes at most an eighth of it. */
  precision?: string;
  /** The most bytes that the program may hold on its device (`info.bytes`). A precision that takes more is passed over; if all do, `load` fails with
   * the code "memory". */
  memory?: number;
  /** The variant to make ready, by name or number; the others are built when inputs of their shapes arrive. */
  variant?: string | number;
  /** Threads for WASM, at most. More than one needs a cross-origin isolated page (COOP and COEP headers), and a Worker. */
  threads?: number;
  /** Run in a Worker of its own. On a page WASM does so unless told otherwise, or a run of any entry is short: by the work that the
   * bundle says it is, at most a few milliseconds of a desktop's processor. Without a Worker it has one thread; `info.why` says both. */
  worker?: boolean;
  /** Share this device instead of asking for one. */
  gpu?: GPUDevice;
  onProgress?: (progress: Progress) => void;
  signal?: AbortSignal;
  fetch?: typeof fetch;
  /** Accept only the bundle with this digest: "sha256-…", from its manifest. */
  integrity?: string;
  /** Of a progressive bundle: false leaves its weights rounded until `program.refine()` is called. */
  refine?: boolean;
  /** false: resolve before the first run; call `program.warmup()` later. */
  warmup?: boolean;
}

export interface RunOptions {
  /** Arrays to fill with results, by output name: of the output's dtype, with room for its whole shape (a result whose extent is known
   * only after the run fills the beginning). Wrong ones are refused before the run. */
  outputs?: Record<string, TypedArray>;
  signal?: AbortSignal;
  variant?: string | number;
}

export interface TensorSpec {
  name: string; shape: number[]; dtype: string; media?: "image" | "audio"; layout?: "NCHW" | "NHWC";
  scale?: number | number[]; mean?: number | number[]; std?: number | number[]; rate?: number; labels?: string[];
}

/** Per output: the largest error over the largest magnitude (null: not finite), and how often the largest element is the same one. */
export type OutputAccuracy = Record<string, { relative: number | null; top1: number | null }>;

export interface Accuracy {
  precision: string; tolerance: Record<string, number>; samples: number; synthetic: boolean;
  /** Of the bundle as it is, and if everything had the precision. */
  outputs: OutputAccuracy; everything: OutputAccuracy;
  /** Weights, and results of operators, that keep larger numbers than asked for: weights "int8" with float32 activations, "float16" or "float32". */
  kept: { kind: "weight" | "result"; name: string; shape: number[]; relative: number | null; numbers?: string }[];
  /** With activations in bytes: how many weights multiply what has scales found on the samples; others are found in every run. */
  calibrated?: number;
  /** Entries that there were no samples of; outputs of others than the default one are "entry.output". */
  unjudged?: string[];
}

export interface Info {
  name: string; device: "wasm" | "webgpu";
  /** Why this device, and why without the Worker or threads that one could expect; of a bundle of several precisions also why this one, and why not those that it prefers. */
  why: string;
  /** What weights are stored in, and behind a stroke, if not float32, what results are stored or products computed in: "float16/float16", "int8/int8". */
  precision: string;
  /** Those that the bundle has, its first choice first. */
  precisions: string[];
  threads: number; worker: boolean; adapter: string;
  /** How far results are from float32, where that was judged when the bundle was made. */
  accuracy?: Accuracy;
  /** Whether weights are exact: those of a progressive bundle are rounded to bfloat16 at first. */
  refined: boolean;
  /** Bytes resident on the device. */
  bytes: number;
  /** On WebGPU: whether kernels reduce across subgroups, for the adapter has them and the model such kernels. */
  subgroups?: boolean;
  /** On WebGPU: whether kernels multiply bytes by WGSL's dot4I8Packed, for the browser has it and the model such kernels. */
  packedDot?: boolean;
  /** Of the last run: dispatches (WASM: calls), and waits in the middle of it for a condition. */
  dispatches: number; roundTrips: number;
  digest: string; entry: string;
  variants: { name: string; entries: Record<string, { inputs: TensorSpec[]; outputs: TensorSpec[]; updates_state: boolean }> }[];
  /** Bytes that came over the network and from the cache. */
  readonly transfer: { network: number; cached: number };
}

/** `code`: "network", "integrity" (damaged or not the pinned bundle), "format" (newer or unknown), "device" (missing adapter, feature
 * or limit), "memory", "input" (name, shape or dtype), "option", "state" (one that does not fit, or is damaged), "label" (no number of a class) or "loss" (not finite, in
 * `fit`), "lost" (device lost, or closed), "internal" (whatever else went wrong in a Worker: a kernel that trapped, say). */
export class HitherError extends Error {
  code: "network" | "integrity" | "format" | "device" | "memory" | "input" | "option" | "state" | "loss" | "label" | "lost" | "internal";
}

export interface Program extends Disposable {
  readonly info: Info;
  /** Resolves with the reason when the device is lost; the program must then be loaded again. */
  readonly lost: Promise<string>;
  /** Run an entry, the default one if none is named, on inputs by name; resolves with the results by name. Calls, those of the state
   * included, take place in the order in which they were made; arrays may be changed as soon as this has returned. Indices that a model looks up
   * in a table (an embedding) raise nothing if they are out of range, but are clamped to it. */
  run(inputs: Record<string, TensorInput | MediaInput>, options?: RunOptions): Promise<Record<string, Tensor>>;
  run(entry: string, inputs: Record<string, TensorInput | MediaInput>, options?: RunOptions): Promise<Record<string, Tensor>>;
  /** Run an entry once on zeros, the default one if none is named, and undo it. */
  warmup(options?: { variant?: string | number; entry?: string; onProgress?: (progress: Partial<Progress>) => void; signal?: AbortSignal }): Promise<void>;
  /** Bring what restores every bit of a progressive bundle's weights; resolves when runs use them. Begins by itself unless `refine: false`.
   * If it fails, it may be called again; only if it fails midway, the program can no longer run. */
  refine(): Promise<void>;
  /** Bytes on the device; `io` are inputs and outputs, which Python counts to the arena. */
  memory(): { weights: number; state: number; arena: number; io: number; total: number };
  /** What survives calls, by name: of a bundled Trainer "weights.…", "optimizer.…" (also "optimizer.learning_rate"), "metrics.…", "keys.…". */
  state(): Promise<Record<string, Tensor>>;
  /** Change some of the state, all of the given or nothing. */
  loadState(values: Record<string, TensorInput>): Promise<void>;
  /** Keep the state under a name, in this origin's IndexedDB; in Node in the file of this name. */
  save(name: string): Promise<void>;
  /** Go on from a state that was kept. */
  restore(name: string): Promise<void>;
  /** The state below a name ("weights" if none is given, "" for all of it) as a safetensors file, in which names go on from there. */
  export(part?: string): Promise<Uint8Array>;
  /** Take the state below a name from a safetensors file, which must have all of it, and nothing else. */
  import(file: Uint8Array | ArrayBuffer | Blob, part?: string): Promise<void>;
  close(): void;
}

/** What hither holds on a device, in bytes, in the words of Python's `ht.memory()`. */
export interface DeviceMemory {
  /** What programs use: weights, state and arena. */
  live: number;
  weights: number;
  /** What survives calls, and where a training step's is copied aside, that copy. */
  state: number;
  /** What runs compute in, inputs and outputs included. */
  arena: number;
  /** Free memory that waits for the next program: there is none in a page. */
  pooled: number;
  /** How many programs there are. */
  programs: number;
  /** live + pooled */
  total: number;
}

/** What programs loaded here hold: `devices` says it for each; `webgpu` and `wasm` are their totals, `programs` the number of all. A
 * program holds memory until it is closed, or until it is collected because nobody refers to it any more, which `load` sees to
 * before it takes more. */
export function memory(): { webgpu: number; wasm: number; programs: number; devices: { webgpu: DeviceMemory; wasm: DeviceMemory } };

/** Load a bundle from the address of its folder; in Node also from a path. Resolves when the program is warm. Each of its files is asked for with
 * the address's query ("model/?token=…"). From another origin its server must send `Access-Control-Allow-Origin`. A policy
 * (Content-Security-Policy) needs `script-src 'self' 'wasm-unsafe-eval'`, and for a bundle of another origin, whose Workers begin in the page's
 * own, `worker-src blob:` beside that other origin. */
export function load(source: string | URL, options?: LoadOptions): Promise<Program>;
