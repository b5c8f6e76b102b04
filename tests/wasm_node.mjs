// The Node half of wasm_node.py: receives a module and its memory regions, runs an entry, returns the regions.
import { Worker, isMainThread, parentPort } from "node:worker_threads";

const imports = (memory) => ({ env: { memory } });

const HELP = "@help";
const [WORD, JOB] = [0, 192]; // in the memory that threads share work through: targets/wasm/sharing.py

function drive(instance, job) {
  const bases = job.regions.map((r) => r.offset);
  for (let i = 0; i < job.repeat; i++) instance.exports[job.entry](...bases, job.threads, job.sync, job.scratch);
}

// Publishes a step that does not exist, once for each helper: the trap is how a test takes its workers back.
function dismiss(memory, { sync }, count) {
  const words = new Int32Array(memory.buffer);
  words[(sync + JOB) >> 2] = -1;
  Atomics.store(words, (sync + WORD) >> 2, count << 16);
  Atomics.notify(words, (sync + WORD) >> 2);
}

async function run(job, body) {
  const bytes = body.subarray(0, job.module);
  const shared = job.threads > 1;
  if (bytes[job.flag] !== 1) throw new Error(`the limits flag is not at offset ${job.flag}`);
  if (shared) bytes[job.flag] = 3;
  const memory = new WebAssembly.Memory({ initial: job.pages, maximum: job.pages, shared });
  const view = new Uint8Array(memory.buffer);
  let at = job.module;
  for (const r of job.regions) {
    view.set(body.subarray(at, at + r.bytes), r.offset);
    at += r.bytes;
  }
  const module = new WebAssembly.Module(bytes);
  const helpers = pool(job.threads - 1);
  const ready = helpers.map((worker, i) => post(worker, { module, memory, sync: job.sync, scratch: job.scratch + (i + 1) * job.scratchStride }));
  await Promise.all(ready);
  const gone = helpers.map((worker) => post(worker, null));
  try {
    drive(new WebAssembly.Instance(module, imports(memory)), job);
  } finally {
    if (shared) dismiss(memory, job, helpers.length);
    await Promise.all(gone);
  }
  return Buffer.concat(job.regions.map((r) => view.slice(r.offset, r.offset + r.bytes)));
}

const workers = [];

function pool(count) {
  while (workers.length < count) workers.push(new Worker(new URL(import.meta.url)));
  return workers.slice(0, count);
}

// The worker's answer to a message, or without one what it says next.
function post(worker, message) {
  return new Promise((resolve, reject) => {
    worker.once("message", (error) => (error ? reject(new Error(error)) : resolve()));
    if (message) worker.postMessage(message);
  });
}

function answer(header, body = Buffer.alloc(0)) {
  const raw = Buffer.from(JSON.stringify({ ...header, bytes: body.length }));
  const length = Buffer.alloc(4);
  length.writeUInt32LE(raw.length);
  process.stdout.write(Buffer.concat([length, raw, body]));
}

async function serve() {
  let chunks = [];
  let size = 0;
  const input = process.stdin[Symbol.asyncIterator]();
  async function take(count) {
    while (size < count) {
      const { value, done } = await input.next();
      if (done) process.exit(0);
      chunks.push(value);
      size += value.length;
    }
    const all = Buffer.concat(chunks);
    chunks = [all.subarray(count)];
    size -= count;
    return all.subarray(0, count);
  }
  for (;;) {
    const job = JSON.parse(await take((await take(4)).readUInt32LE()));
    const body = await take(job.module + job.regions.reduce((sum, r) => sum + r.bytes, 0));
    try {
      answer({}, await run(job, body));
    } catch (error) {
      answer({ error: error.stack });
    }
  }
}

if (isMainThread) {
  await serve();
} else {
  parentPort.on("message", ({ module, memory, sync, scratch }) => {
    let error = null;
    try {
      const { exports } = new WebAssembly.Instance(module, imports(memory));
      parentPort.postMessage(null);
      exports[HELP](sync, scratch);
    } catch (e) {
      if (!/unreachable/.test(e.message)) error = e.stack;
    }
    parentPort.postMessage(error);
  });
}
