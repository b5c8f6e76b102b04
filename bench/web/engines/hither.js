// hither: a bundle of its own for each net.
export async function create({ base, feeds, target, threads, bundle = "bundle/" }) {
  const { load } = await import(new URL(`${bundle}hither.js`, new URL(base, location.href)).href);
  /** @type {Record<string, number>} when each phase of loading began */
  const phases = {};
  const onProgress = ({ phase }) => { phases[phase] ??= Math.round(performance.now()); };
  const program = await load(`${base}${bundle}`, { device: target, threads, onProgress });
  const { variants, entry, adapter, precision, why } = program.info;
  const wanted = variants[0].entries[entry].inputs.map((input) => [input.name, feeds[input.name].data]);
  const inputs = Object.fromEntries(wanted);
  return {
    async run() {
      const results = await program.run(inputs);
      return Object.fromEntries(Object.entries(results).map(([name, { data }]) => [name, data]));
    },
    about: { threads: program.info.threads, adapter, precision, why, phases, memory: program.memory() },
    memory: () => program.memory(),
    close: () => program.close(),
  };
}
