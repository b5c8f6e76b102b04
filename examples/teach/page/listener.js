// Runs in the browser's audio thread: hands on what the microphone hears, mixed to mono.
// @ts-nocheck: the checker knows the page's global scope, not this one's.
registerProcessor("listener", class extends AudioWorkletProcessor {
  process([channels]) {
    if (channels.length) this.port.postMessage(channels.reduce((sum, c) => sum.map((x, i) => x + c[i] / channels.length), new Float32Array(channels[0].length)));
    return true;
  }
});
