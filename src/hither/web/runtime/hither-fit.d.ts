/** Training for epochs, over the entries of a bundled hither.Trainer. */
import type { Program, Tensor, TypedArray } from "./hither.js";

/** All samples by input name, one row after another: as "train_step" and "evaluate" take them, of any number. */
export type Samples = Record<string, TypedArray | readonly number[] | { data: TypedArray | ArrayLike<number>; shape: readonly number[] }>;

/** The loss and the metrics by name. */
export type Logs = Record<string, any>;

export interface BatchOptions {
  /** Samples of a batch, at most as many as the bundle has been made for, which is the default. The last batch has what is left. */
  batchSize?: number;
  /** Ends the work; the step that runs leaves no trace. */
  signal?: AbortSignal;
}

export interface FitOptions extends BatchOptions {
  epochs?: number;
  /** Whether each epoch has an order of its own, which the seed decides. */
  shuffle?: boolean;
  seed?: number;
  /** Evaluated after each epoch: its logs' names begin with "val_". */
  validation?: Samples;
  /** After each step: the loss of its batch, and the metrics of the epoch so far. It is awaited. */
  onBatch?: (batch: number, logs: Logs, epoch: number) => unknown;
  /** After each epoch. It is awaited; false ends the training. */
  onEpoch?: (epoch: number, logs: Logs) => unknown;
}

/** Train, as `Trainer.fit` does: a last batch that is not full is a step on just its samples, and averages that the optimizer has
 * become the weights at the end. Resolves with the logs of each epoch,
 * by name. A loss that is not finite throws a HitherError of code "loss". */
export function fit(program: Program, samples: Samples, options?: FitOptions): Promise<Record<string, any[]>>;

/** The loss and the metrics of all samples. */
export function evaluate(program: Program, samples: Samples, options?: BatchOptions): Promise<Logs>;

/** The network's outputs for all samples, one row for each, by name. `samples` have the inputs alone. */
export function predict(program: Program, samples: Samples, options?: BatchOptions): Promise<Record<string, Tensor>>;
