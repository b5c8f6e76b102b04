// The Node half of wasm_node.py: receives a module and its memory regions, runs an entry, returns the regions.
import { Worker, isMainThread, parentPort } from "node:worker_threads";

const imports = (memory) => ({ env: { memory } });

function call(instance, job, thread) {
  const bases = job.regions.map((r) => r.offset);
  const scratch = job.scratch + thread * job.scratchStride;
  for (let i = 0; i < job.repeat; i++) {
    instance.exports[job.entry](...bases, thread, job.threads, job.sync, scratch);
  }
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
  if (shared) {
    await Promise.all(pool(job.threads).map((worker, thread) => post(worker, { module, memory, job, thread })));
  } else {
    call(new WebAssembly.Instance(module, imports(memory)), job, 0);
  }
  return Buffer.concat(job.regions.map((r) => view.slice(r.offset, r.offset + r.bytes)));
}

const workers = [];

function pool(count) {
  while (workers.length < count) workers.push(new Worker(new URL(import.meta.url)));
  return workers.slice(0, count);
}

function post(worker, message) {
  return new Promise((resolve, reject) => {
    worker.once("message", (error) => (error ? reject(new Error(error)) : resolve()));
    worker.postMessage(message);
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
  parentPort.on("message", ({ module, memory, job, thread }) => {
    try {
      call(new WebAssembly.Instance(module, imports(memory)), job, thread);
      parentPort.postMessage(null);
    } catch (error) {
      parentPort.postMessage(error.stack);
    }
  });
}
