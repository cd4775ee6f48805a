// How fast graphile-worker takes in and does jobs that do nothing: node graphile-worker.mjs <database> <jobs>
import { Logger, makeWorkerUtils, run } from "graphile-worker";

const [connectionString, count] = [process.argv[2], Number(process.argv[3])];
const logger = new Logger(() => () => {});
const utils = await makeWorkerUtils({ connectionString, logger });
await utils.migrate();

// One call for each job, as the service that is compared with gets one for each; 32 at a time.
let next = 0;
let started = performance.now();
const caller = async () => {
  while (next++ < count) await utils.addJob("nothing", {});
};
await Promise.all(Array.from({ length: 32 }, caller));
const enqueued = count / ((performance.now() - started) / 1000);

let done = 0;
started = performance.now();
await new Promise(async (resolve) => {
  const nothing = async () => {
    if (++done === count) resolve();
  };
  await run({ connectionString, concurrency: 16, maxPoolSize: 18, noHandleSignals: true, logger, taskList: { nothing } });
});
const worked = count / ((performance.now() - started) / 1000);
console.log(JSON.stringify({ enqueued, worked }));
process.exit(0);
