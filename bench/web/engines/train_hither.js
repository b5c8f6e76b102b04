// hither: the bundle of a Trainer; weights and Adam's moments are its state.
export async function create({ base, feeds, threads, reference }) {
  const { load } = await import(new URL("bundle/hither.js", new URL(base, location.href)).href);
  const program = await load(`${base}bundle/`, { device: "wasm", threads });
  const inputs = { x: feeds.x.data, y: feeds.y.data };
  const step = async () => (await program.run("train_step", inputs)).loss.data[0];
  let first = reference.losses.data.length;
  return {
    async run() {
      const losses = [];
      for (; first > 0; first--) losses.push(await step());
      return { losses: losses.length ? losses : [await step()] };
    },
    about: { threads: program.info.threads, memory: program.memory() },
    close: () => program.close(),
  };
}
