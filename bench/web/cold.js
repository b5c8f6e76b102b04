// One engine in a fresh page: the time from the start of the navigation to the first result. Says nothing else to the page,
// so that what is fetched is what a site with this engine makes its visitors fetch (plus the input, arrays.*).
import { openNet } from "./net.js";

const { engine, net, ...options } = Object.fromEntries(new URLSearchParams(location.search));
try {
  const [{ create }, opened] = await Promise.all([import(`./engines/${engine}.js`), openNet(net)]);
  const { run, about } = await create({ ...opened, target: options.target, threads: Number(options.threads) });
  const ready = performance.now();
  const found = await run();
  globalThis.result = { ready_ms: ready, result_ms: performance.now(), outputs: Object.keys(found).length, phases: about.phases ?? {} };
} catch (error) {
  globalThis.result = { error: String(error) };
}
console.info("measured"); // who drives the page must not look into it before
