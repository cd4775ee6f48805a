// How fast pg-boss takes in and does jobs that do nothing: node pg-boss.mjs <database> <jobs>
import PgBoss from "pg-boss";

const [connectionString, count] = [process.argv[2], Number(process.argv[3])];
const boss = new PgBoss({ connectionString, max: 18 });
await boss.start();
await boss.createQueue("nothing");

// One call for each job, as the service that is compared with gets one for each; 32 at a time.
let next = 0;
let started = performance.now();
const caller = async () => {
  while (next++ < count) await boss.send("nothing", {});
};
await Promise.all(Array.from({ length: 32 }, caller));
const enqueued = count / ((performance.now() - started) / 1000);

// Sixteen workers that take one job at a time, as its own `work` would, but without the half second that it rests between.
let done = 0;
started = performance.now();
const worker = async () => {
  while (done < count) {
    const [job] = await boss.fetch("nothing");
    if (!job) continue;
    await boss.complete("nothing", job.id);
    done++;
  }
};
await Promise.all(Array.from({ length: 16 }, worker));
const worked = count / ((performance.now() - started) / 1000);
console.log(JSON.stringify({ enqueued, worked }));
process.exit(0);
