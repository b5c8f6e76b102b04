// Bytes of WebAssembly memories and GPU buffers, counted where they are made, so that nobody's own books need to be believed.
// A page imports this before any engine; module Workers that it makes import it too, and tell the page.

/** @type {Record<string, { gpu: number, memories: { buffer: { byteLength: number } }[] }>} */
const owners = {};
const channel = new BroadcastChannel("counting");
let owner = "page";
const books = () => owners[owner] ??= { gpu: 0, memories: [] };

/** Who makes what is made from now on. @param {string} name */
export function charge(name) {
  owner = name;
}

/** What somebody holds now. @param {string} name @returns {{ wasm: number, gpu: number }} */
export function counted(name) {
  const { gpu = 0, memories = [] } = owners[name] ?? {};
  return { gpu, wasm: memories.reduce((n, m) => n + m.buffer.byteLength, 0) };
}

const inPage = typeof document !== "undefined", found = new WeakSet();
/** @param {WebAssembly.Memory} memory */
function note(memory) {
  if (found.has(memory)) return;
  found.add(memory);
  if (inPage) books().memories.push(memory);
  else channel.postMessage(memory.buffer.byteLength); // what runs in Workers here does not grow
}
if (inPage) channel.onmessage = ({ data: byteLength }) => books().memories.push({ buffer: { byteLength } });

const { Memory, instantiate, instantiateStreaming } = WebAssembly;
WebAssembly.Memory = class extends Memory {
  constructor(...args) {
    super(...args);
    note(this);
  }
};
/** Modules may bring a memory of their own. */
function exported(result) {
  for (const value of Object.values((result.instance ?? result).exports)) if (value instanceof Memory) note(value);
  return result;
}
WebAssembly.instantiate = (...args) => instantiate(...args).then(exported);
WebAssembly.instantiateStreaming = (...args) => instantiateStreaming(...args).then(exported);

if (globalThis.GPUDevice) {
  const { createBuffer } = GPUDevice.prototype, { destroy } = GPUBuffer.prototype, whose = new WeakMap();
  GPUDevice.prototype.createBuffer = function (what) {
    const made = createBuffer.call(this, what);
    whose.set(made, books());
    books().gpu += made.size;
    return made;
  };
  GPUBuffer.prototype.destroy = function () {
    const of = whose.get(this);
    if (of) of.gpu -= this.size;
    whose.delete(this);
    return destroy.call(this);
  };
}

if (inPage) {
  globalThis.Worker = class extends Worker {
    constructor(script, options) {
      const code = `import "${import.meta.url}"; import "${new URL(script, location.href)}";`;
      super(options?.type === "module" ? URL.createObjectURL(new Blob([code], { type: "text/javascript" })) : script, options);
    }
  };
}
